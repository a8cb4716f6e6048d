"""The incident this project exists for, replayed on real parts and caught: `make demo`."""
