"""`rollcall serve`: a Prefect server if none is configured, every deployment, and what keeps them company."""
