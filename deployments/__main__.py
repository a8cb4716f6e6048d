"""`python -m deployments` is `rollcall`."""

from deployments.cli import main

main()
