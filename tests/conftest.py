"""Makes the bed's fixtures known to every test."""

pytest_plugins = ["tests.bed.fixtures"]
