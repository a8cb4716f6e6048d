"""`python -m deployments.demo`: plays the incident and cleans up after itself. KEEP=1 leaves all of it running."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from types import FrameType

from deployments.demo import stage
from deployments.demo.scene import FOLDER, ROOT, Scene, empty_folder, lay_out, new_scene, only_demo
from deployments.demo.servers import Phone, Servers, stop_forgotten
from deployments.demo.story import Story
from deployments.demo.voice import DemoError, Voice, paint

CLEAN = f"{sys.executable} -m deployments.demo --clean"


def main() -> int:
    """Play, or with --clean only clean up. Exit 0 if the story came true; 1 with one sentence if not."""
    parser = argparse.ArgumentParser(prog="python -m deployments.demo", description=__doc__)
    parser.add_argument("--clean", action="store_true", help="remove what a demo left, and end")
    only_clean = parser.parse_args().clean
    # Also where it was started in the background, in which shells have programs ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _as_interrupt)
    try:
        with only_demo():
            return _clean() if only_clean else _play(keep=os.environ.get("KEEP", "") not in {"", "0"})
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("demo: Stopped by hand; what it had made is removed.", file=sys.stderr)
    return 1


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _clean() -> int:
    stop_forgotten()
    stage.remove_ours(new_scene())
    empty_folder()
    print("Nothing of the demo is left.")
    return 0


def _play(*, keep: bool) -> int:
    scene, voice = new_scene(), Voice()
    stage.refuse_what_is_not_ours(scene)
    stop_forgotten()
    stage.remove_ours(scene)
    empty_folder()
    lay_out()
    servers, phone, came_true = Servers(scene), Phone(), False
    try:
        print(paint("Rollcall, on the night of 1 February. Real Docker, PostgreSQL, S3 and Prefect.", "bold"))
        scene.environment["ROLLCALL_NOTIFY_URL"] = phone.url
        servers.begin()
        story = Story(scene, voice, servers, phone)
        story.tell()
        came_true = True
    finally:
        phone.stop()
        if not (keep and came_true):
            _clear(scene, servers, came_true)
    _end(voice, story)
    if keep:
        _say_how_to_go_on(scene, servers)
    return 0


def _clear(scene: Scene, servers: Servers, came_true: bool) -> None:
    """Remove everything; a second Ctrl-C must not leave half of it. Logs of a demo that failed stay."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    servers.stop()
    stage.remove_ours(scene)
    if came_true:
        empty_folder()


def _end(voice: Voice, story: Story) -> None:
    print(
        f"\n{paint('Caught', 'bold', 'green')}: 84 of 85 experts and 26,310 of 26,337 nodes gone, a server that was up "
        f"and green; {story.caught_after:.0f} s after verify was started.\nPut back twice, by a plan that a person "
        f"approved, and nothing was deleted. The whole demo took {voice.elapsed:.0f} s."
    )


def _say_how_to_go_on(scene: Scene, servers: Servers) -> None:
    """KEEP=1: where everything is, and how to be rid of it."""
    wanted = ("ROLLCALL_CONFIG", "KNOWLEDGE_OS_PASSWORD", "S3_KEY", "S3_SECRET", "PREFECT_API_URL", "PREFECT_HOME")
    lines = [f"export {name}={shlex.quote(scene.environment[name])}" for name in wanted if name in scene.environment]
    file = FOLDER / "environment"
    file.touch(mode=0o600)
    # Nobody listens for alerts any more, so none are to be sent to this address.
    file.write_text("\n".join([*lines, "export ROLLCALL_NOTIFY_URL=json://127.0.0.1:9/"]) + "\n")
    verify = f"{sys.executable} -m deployments verify knowledge_os"
    print(
        f"\nLeft running, as asked:\n  Prefect's UI   {servers.ui}\n"
        f"  your turn      cd {ROOT} && . {file.relative_to(ROOT)} && {verify}\n"
        f"  be rid of it   {CLEAN}   (the next `make demo` does so too)"
    )


if __name__ == "__main__":
    sys.exit(main())
