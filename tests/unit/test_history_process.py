"""A process that has ended is known to have; of one that cannot be seen nothing is claimed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tasks.history.process import has_ended, this_process

needs_proc = pytest.mark.skipif(this_process().started is None, reason="this machine has no /proc")


def test_this_process_has_not_ended() -> None:
    assert not has_ended(this_process())


@needs_proc
def test_a_process_that_was_killed_has_ended_also_before_its_parent_takes_note() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        other = this_process().model_copy(update={"pid": child.pid, "started": None})
        assert not has_ended(other)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert has_ended(other)
        child.wait()
        assert has_ended(other)


@needs_proc
def test_a_later_process_of_the_same_number_is_another_one() -> None:
    here = this_process()
    assert has_ended(here.model_copy(update={"started": 1}))


def test_of_another_machine_nothing_is_known() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = this_process().model_copy(update={"pid": gone.pid})
    assert has_ended(here)
    assert not has_ended(here.model_copy(update={"place": "elsewhere"}))


def test_another_users_process_has_not_ended() -> None:
    assert not has_ended(this_process().model_copy(update={"pid": 1, "started": None}))
