"""The test bed: a real engine, real PostgreSQL servers, a real S3 server and ways to break all of them."""
