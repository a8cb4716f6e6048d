"""What is found is told once: whoever finds it, however many at once, however long the sending takes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from tasks.alerts import markers, notify
from tasks.alerts.tell import tell, tell_failure, tell_first
from tasks.checks.judgement import Judgement, remember
from tasks.config import Config, NotifyUrl, load
from tasks.errors import EngineUnreachable
from tasks.history.backups import remember_stored
from tasks.history.records import Alert, Run, StoredBackup, Telling, ToldFailure
from tasks.history.store import History, open_history
from tasks.history.telling import ALERT, AT_WORK, begin_alert, begin_failure, end_alert, told_since
from tasks.models import Finding, Tally, verdict_of
from tasks.secrets import EnvReference
from tests.bed.recorder import HttpRecorder
from tests.bed.watched import told

TARGET = "knowledge_os"
WRONG = Finding(code="volume.mismatch", severity="critical", message="Container x mounts volume y.")
LOST = Finding(code="rows.dropped", severity="critical", message="experts has 1 row", table="public.experts")
UNREACHABLE = Finding(code="storage.unreachable", severity="warning", message="The storage offsite did not answer.")
MISSING = Finding(code="backup.missing", severity="warning", message="There is no good backup.")
DOWN = EngineUnreachable("No Docker engine answers.")
AT_ONCE = 3

CONFIG = """
storages: {{local: {{type: local, path: ./backups}}}}
notify: [{{url: {{file: {folder}/hook}}}}]
targets:
  knowledge_os: {{container: c, volume: v, database: d, user: u, storages: [local]}}
"""


def judged(*findings: Finding) -> Judgement:
    return Judgement(findings=list(findings), verdict=verdict_of(list(findings)), expected={})


def say(config: Config, *findings: Finding) -> list[Finding]:
    return tell(config, TARGET, judged(*findings), None, {}, None)


def say_first(config: Config, *findings: Finding) -> list[Finding]:
    return tell_first(config, TARGET, judged(*findings), None, {})


def unless_delivered(last: Alert | None) -> str | None:
    """What `begin_alert` asks: news, unless somebody heard of it."""
    return None if last is not None and last.delivered else "new"


def news_of_it(_history: History, _told: ToldFailure | None) -> str:
    """What `begin_failure` asks."""
    return "news"


def checked(config: Config, *findings: Finding, ago: timedelta = timedelta(minutes=15)) -> None:
    """A check of a while ago, in the history."""
    remember(config, TARGET, "verify", datetime.now(UTC) - ago, judged(*findings), Tally(counts={}), None)


@pytest.fixture
def config(tmp_path: Path, http_recorder: HttpRecorder) -> Config:
    """One target, whose alerts go to the recorder."""
    (tmp_path / "hook").write_text(http_recorder.apprise_url)
    (tmp_path / "targets.yaml").write_text(CONFIG.format(folder=tmp_path))
    return load(str(tmp_path / "targets.yaml"))


def _say_both(file: str, ready: Barrier) -> None:
    settings = load(file)
    ready.wait(60)
    say(settings, WRONG)
    ready.wait(60)
    tell_failure(settings, TARGET, "verify", DOWN)


def test_of_many_processes_that_find_the_same_at_once_one_tells_it(
    config: Config, http_recorder: HttpRecorder, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(AT_ONCE)
    arguments = (str(tmp_path / "targets.yaml"), ready)
    processes = [context.Process(target=_say_both, args=arguments) for _ in range(AT_ONCE)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(120)
    assert [each.exitcode for each in processes] == [0] * AT_ONCE
    assert len(told(http_recorder, "CRITICAL")) == 1
    assert len(told(http_recorder, "FAILED")) == 1


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message is sent a second time because a busy machine took ten seconds for what a test does meanwhile."""
    monkeypatch.setattr(notify, "DEADLINE", 120.0)


@pytest.mark.usefixtures("patient")
def test_while_a_message_hangs_the_same_finding_waits_for_nothing_and_another_is_told(
    config: Config, http_recorder: HttpRecorder
) -> None:
    http_recorder.stall()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(say, config, WRONG)
        http_recorder.wait_for(1, 60)
        assert say(config, WRONG) == []
        assert not first.done(), "it still hangs: the second one did not wait for it"
        second = pool.submit(say, config, WRONG, LOST)
        http_recorder.wait_for(2, 60)
        http_recorder.resume()
        assert (first.result(60), second.result(60)) == ([], [])
    assert say(config, WRONG, LOST) == []
    assert len(told(http_recorder, "CRITICAL")) == 2


def test_what_could_not_be_delivered_is_tried_again_by_the_next_check(
    config: Config, http_recorder: HttpRecorder
) -> None:
    http_recorder.answer_with(404)
    (finding,) = say(config, WRONG)
    assert finding.code == "notification.failed"
    sent = len(http_recorder.messages)
    http_recorder.answer_with(200)
    assert say(config, WRONG) == []
    assert len(http_recorder.messages) == sent + 1


@pytest.fixture
def both(config: Config, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The same target, whose alerts also go to a destination of which only the name is right."""
    monkeypatch.setenv("SECOND", "no URL")
    return config.model_copy(update={"notify": [*config.notify, NotifyUrl(url=EnvReference(env="SECOND"))]})


def test_while_one_destination_is_broken_the_other_hears_everything_once(
    both: Config, http_recorder: HttpRecorder, second_recorder: HttpRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for findings in ([WRONG], []):
        for _ in range(3):
            (finding,) = say(both, *findings)
            assert finding.code == "notification.failed"
    assert [len(told(http_recorder, word)) for word in ("CRITICAL", "RECOVERED")] == [1, 1]

    monkeypatch.setenv("SECOND", second_recorder.apprise_url)
    for _ in range(2):
        assert say(both) == []
    assert [each["title"].split()[0] for each in second_recorder.messages] == ["RECOVERED"]
    assert len(http_recorder.messages) == 2


@pytest.mark.parametrize(
    ("ago", "news"), [(AT_WORK / 2, False), (AT_WORK * 1.1, True), (-AT_WORK / 2, False), (-2 * AT_WORK, True)]
)
def test_who_was_killed_while_telling_keeps_others_from_it_for_a_minute_alone(
    ago: timedelta, news: bool, config: Config
) -> None:
    """Also where the clock was set back meanwhile."""
    now = datetime.now(UTC)
    killed = Telling(target=TARGET, what=ALERT, fingerprint="f", since=now - ago)
    later = killed.model_copy(update={"id": "later", "since": now})
    with open_history(config.history) as history:
        begin_alert(history, killed, lambda _last: "new")
        assert bool(begin_alert(history, later, unless_delivered)) == news


@pytest.mark.parametrize(("ago", "news"), [(AT_WORK / 2, False), (AT_WORK * 1.1, True)])
def test_a_failure_is_kept_from_others_just_so(ago: timedelta, news: bool, config: Config) -> None:
    now = datetime.now(UTC)
    killed = Telling(target=TARGET, what="verify", fingerprint="No engine.", since=now - ago)
    later = killed.model_copy(update={"id": "later", "since": now})
    other = later.model_copy(update={"id": "other", "fingerprint": "No storage."})
    with open_history(config.history) as history:
        assert begin_failure(history, killed, news_of_it)
        assert bool(begin_failure(history, later, news_of_it)) == news
        assert begin_failure(history, other, news_of_it)


def _say_that_it_hangs(file: str, now: datetime) -> None:
    with open_history(load(file).history) as history:
        begin_alert(history, Telling(target=TARGET, what=ALERT, fingerprint="f", since=now), lambda _last: "new")
        begin_failure(history, Telling(target=TARGET, what="verify", fingerprint="f", since=now), news_of_it)
    os.kill(os.getpid(), signal.SIGKILL)


def test_who_was_killed_while_telling_on_this_machine_silences_nobody(config: Config, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    process = multiprocessing.get_context("spawn").Process(
        target=_say_that_it_hangs, args=(str(tmp_path / "targets.yaml"), now)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    alert = Telling(target=TARGET, what=ALERT, fingerprint="f", since=now)
    failure = alert.model_copy(update={"id": "later", "what": "verify"})
    with open_history(config.history) as history:
        assert not told_since(history, TARGET, now)
        assert begin_alert(history, alert, unless_delivered)
        assert begin_failure(history, failure, news_of_it)
        assert told_since(history, TARGET, now), "it is being told by one that lives"


def test_alerts_stand_in_the_order_in_which_they_were_decided(config: Config) -> None:
    """The first one hangs, and ends after the second, by which it was overtaken; then its end changes nothing."""
    now = datetime.now(UTC)
    ill = Telling(target=TARGET, what=ALERT, fingerprint="f", since=now)
    well = Telling(target=TARGET, what=ALERT, verdict="healthy", fingerprint="", since=now)
    seen: list[Alert | None] = []

    def look(last: Alert | None) -> None:
        seen.append(last)

    with open_history(config.history) as history:
        begun = [begin_alert(history, each, lambda _: "news") for each in (ill, well)]
        for each, delivered in zip(reversed(begun), (True, False), strict=True):
            assert each is not None
            end_alert(history, each[1], delivered=delivered)
            begin_alert(history, ill, look)
        assert not told_since(history, TARGET, now), "the last word was that all is well"
    assert [(each.verdict, each.delivered) for each in seen if each] == [("healthy", True)] * 2


def test_what_is_being_told_counts_as_told(config: Config) -> None:
    now = datetime.now(UTC)
    telling = Telling(target=TARGET, what=ALERT, fingerprint="f", since=now)
    with open_history(config.history) as history:
        assert not told_since(history, TARGET, now)
        begin_alert(history, telling, lambda _last: "new")
        assert told_since(history, TARGET, now)
        assert not told_since(history, TARGET, now + timedelta(seconds=1))


def test_what_is_certain_is_told_before_the_storages_answer_and_once(
    config: Config, http_recorder: HttpRecorder
) -> None:
    checked(config, MISSING)
    assert say_first(config, WRONG) == []
    assert say(config, WRONG, MISSING) == [], "the storages say what they said before"
    assert len(told(http_recorder, "CRITICAL", "wrong volume")) == 1

    assert say(config, WRONG, UNREACHABLE) == []
    assert len(told(http_recorder, "CRITICAL", "wrong volume")) == 2, "what they say now is news"


def test_a_check_made_while_the_clock_was_ahead_doubles_no_alarm(config: Config, http_recorder: HttpRecorder) -> None:
    """What the storages said is that of the check put down last, not of the one with the latest date."""
    checked(config, MISSING, ago=timedelta(days=-365))
    for _ in range(3):
        checked(config, UNREACHABLE)
        say_first(config, WRONG)
        say(config, WRONG, UNREACHABLE)
    assert len(told(http_recorder, "CRITICAL", "wrong volume")) == 1


def test_a_backup_of_meanwhile_is_known(config: Config, http_recorder: HttpRecorder) -> None:
    checked(config, MISSING)
    stored = StoredBackup(target=TARGET, id="20260201T020000Z-1a2b", created_at=datetime.now(UTC), quarantined=False,
                          stored={"local": 1}, raw_bytes=1, seconds=1.0)  # fmt: skip
    with open_history(config.history) as history:
        remember_stored(history, TARGET, [stored], complete=True)
    say_first(config, WRONG)
    say(config, WRONG)
    assert len(http_recorder.messages) == 1
    assert stored.id in http_recorder.messages[0]["message"]


@pytest.mark.parametrize("findings", [(), (MISSING,)])
def test_what_is_not_critical_waits_for_the_whole(
    findings: tuple[Finding, ...], config: Config, http_recorder: HttpRecorder
) -> None:
    checked(config)
    assert say_first(config, *findings) == []
    assert http_recorder.messages == []


def spoil(config: Config) -> None:
    """Make the history one that cannot be used."""
    config.state.mkdir(exist_ok=True)
    (config.state / "history.db").write_text("This is no database, and long enough to be taken for one." * 100)


def _fail(file: str) -> None:
    tell_failure(load(file), TARGET, "verify", DOWN)


@pytest.mark.parametrize("writable", [True, False])
def test_a_failure_is_told_once_even_where_the_history_cannot_remember_it(
    config: Config, http_recorder: HttpRecorder, writable: bool
) -> None:
    spoil(config)
    if not writable:
        (config.state / markers.FOLDER).write_text("No folder can be made here.")
    for _ in range(3):
        tell_failure(config, TARGET, "verify", DOWN)
    assert len(told(http_recorder, "FAILED")) == 1
    tell_failure(config, TARGET, "verify", EngineUnreachable("Another sentence."))
    assert len(told(http_recorder, "FAILED")) == 2


def test_scheduled_runs_are_processes_of_their_own_and_tell_a_failure_once_without_a_history(
    config: Config, http_recorder: HttpRecorder, tmp_path: Path
) -> None:
    spoil(config)
    for _ in range(2):
        process = multiprocessing.get_context("spawn").Process(target=_fail, args=(str(tmp_path / "targets.yaml"),))
        process.start()
        process.join(120)
        assert process.exitcode == 0
    assert len(told(http_recorder, "FAILED")) == 1
    hour, (marker,) = timedelta(hours=1), (config.state / markers.FOLDER).iterdir()
    known = ToldFailure.model_validate_json(marker.read_bytes())
    markers.keep(config.state, known.model_copy(update={"told_at": known.told_at + 2 * hour, "what": "drill"}), hour)
    assert not marker.exists(), "what silences nothing any more goes"


@pytest.mark.parametrize("usable", [True, False])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_failure_counts_as_told_to_whom_it_reached(
    usable: bool, recorded: bool, both: Config, http_recorder: HttpRecorder, second_recorder: HttpRecorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if not usable:
        spoil(both)
    right = Path(both.state.parent, "hook").read_text()
    Path(both.state.parent, "hook").write_text("no URL")
    assert len(tell_failure(both, TARGET, "drill", DOWN, recorded=recorded)) == 2
    Path(both.state.parent, "hook").write_text(right)
    for _ in range(2):
        assert len(tell_failure(both, TARGET, "drill", DOWN, recorded=recorded)) == 1
    assert len(told(http_recorder, "FAILED")) == 1, "it is told again where nobody had heard it, and once"

    monkeypatch.setenv("SECOND", second_recorder.apprise_url)
    for _ in range(2):
        assert tell_failure(both, TARGET, "drill", DOWN, recorded=recorded) == []
    assert [len(told(each, "FAILED")) for each in (http_recorder, second_recorder)] == [1, 1]


def test_a_clock_that_was_set_back_neither_silences_nor_repeats(config: Config, http_recorder: HttpRecorder) -> None:
    """What was told and what failed tomorrow, by the clock as it was."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    failed = Run(
        target=TARGET, kind="verify", started_at=tomorrow, ended_at=tomorrow, outcome="failed", message=str(DOWN)
    )
    with open_history(config.history) as history:
        begun = begin_alert(
            history, Telling(target=TARGET, what=ALERT, fingerprint="f", since=tomorrow), unless_delivered
        )
        assert begun is not None
        end_alert(history, begun[1], delivered=True)
        history.record_run(failed)
    for _ in range(3):
        say(config)
        tell_failure(config, TARGET, "verify", DOWN)
    assert [len(told(http_recorder, word)) for word in ("RECOVERED", "FAILED")] == [1, 1]


@pytest.mark.usefixtures("patient")
def test_an_alert_that_hangs_hides_no_later_one(config: Config, http_recorder: HttpRecorder) -> None:
    """Critical (which hangs), well again, critical again: the third is news, though the first still is on its way."""
    http_recorder.stall()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(say, config, WRONG)
        http_recorder.wait_for(1, 60)
        second = pool.submit(say, config)
        http_recorder.wait_for(2, 60)
        third = pool.submit(say, config, WRONG)
        http_recorder.wait_for(3, 60)
        http_recorder.resume()
        assert [each.result(60) for each in (first, second, third)] == [[], [], []]
