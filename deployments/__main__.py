"""`rollcall`, and `python -m deployments`: where a process of the command line begins."""

import atexit
import gc
import sys

from deployments import streams

# Imports make some 400,000 objects and hardly any garbage. At Python's own threshold of 700 the collector, which looks
# through all of them again and again, takes a fifth of a check's start: see benchmarks/start_up.py.
gc.set_threshold(100_000)
# And at the end it would look through them once more, which takes most of a second where Prefect tracks the run.
atexit.register(gc.freeze)


def main() -> None:
    """Run the command line. Its imports take a second, in which somebody may change their mind."""
    streams.outlive_readers()
    try:
        from deployments import cli
    except KeyboardInterrupt:
        sys.exit("rollcall: Stopped by hand, before anything began.")
    cli.main()


if __name__ == "__main__":
    main()
