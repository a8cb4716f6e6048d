"""`python -m tests.bed up | down | s3`: called by the Makefile and by the demo, which imports no tests."""

import argparse
import sys
from pathlib import Path

from tests.bed import compose_programs, engine, images, labels, s3
from tests.bed.progress import BedError, alone


def main() -> int:
    """Run one command; return its exit code, 1 with one sentence if it cannot be done."""
    arguments = _parser().parse_args()
    try:
        arguments.command(arguments)
    except BedError as error:
        print(f"bed: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bed", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("up", help="engine, Compose and images").set_defaults(command=_up)
    commands.add_parser("down", help="remove what the bed left").set_defaults(command=_down)
    server = commands.add_parser("s3", help="an S3 server in the foreground, until SIGTERM")
    server.add_argument("--dir", type=Path, required=True, help="folder for its data, made if missing")
    server.add_argument("--port", type=int, default=0, help="0: any free one")
    server.set_defaults(command=lambda given: s3.serve(given.dir, given.port))
    return parser


def _up(_: argparse.Namespace) -> None:
    with alone():
        engine.up()
        compose_programs.config_folder()
        images.up()


def _down(_: argparse.Namespace) -> None:
    with alone():
        if engine.answers():
            labels.remove_all()
        engine.down()


if __name__ == "__main__":
    sys.exit(main())
