"""What the history forgets changes no judgement: all that is judged by, and what people have accepted, stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.config import Config, load
from tasks.history.pruning import Row, forget_old, to_forget
from tasks.history.records import Acceptance, Observation
from tasks.history.store import History, open_history
from tasks.models import Identity

NOW = datetime(2026, 11, 26, 0, 7, tzinfo=UTC)
DAY = timedelta(days=1)
CONFIG = """
storages: {local: {type: local, path: ./backups}}
targets:
  shop: {container: c, volume: v, database: d, user: u, storages: [local], thresholds: {window_days: 40}}
"""
SEEN = Identity(
    container="c", volume="v", system_identifier="7", timeline=1, checkpoint_lsn="16/B374D848", server_version="16.4"
)


def rows(days: float, each: timedelta = timedelta(hours=6), **other: object) -> list[Row]:
    """Accepted checks from so many days ago until now, oldest first."""
    plain = Row(0, NOW, "verify", True, True, None)._asdict() | other
    times = int(days * DAY / each)
    return [Row(**plain | {"number": n, "at": NOW - (times - n) * each}) for n in range(times)]  # type: ignore[arg-type]


def accepted(at: datetime, last: int | None = None) -> Acceptance:
    return Acceptance(
        target="shop", at=at, table=None, counts={}, reason="meant", accepted_by="ann", last_observation=last
    )


def left(found: list[Row], *acceptances: Acceptance, window: int = 30) -> list[Row]:
    gone = set(to_forget(found, acceptances, NOW, window))
    return [each for each in found if each.number not in gone]


def test_the_window_stays_whole_and_before_it_the_last_accepted_of_each_day() -> None:
    found = rows(100)
    stays = left(found)
    recent = [each for each in found if each.at >= NOW - 32 * DAY]
    assert [each for each in stays if each.at >= NOW - 32 * DAY] == recent
    old = [each for each in stays if each.at < NOW - 32 * DAY]
    assert len(old) == len({each.at.date() for each in old}) == 68
    assert {each.at.hour for each in old} == {18}
    assert left(found, window=99) == found, "a window of one's own"
    assert left(stays) == stays, "doing it again changes nothing"


def test_a_day_without_an_accepted_one_keeps_its_last_and_one_that_has_one_keeps_that() -> None:
    found = rows(50)
    found = [each._replace(accepted=each.number % 4 == 1) if each.number < 20 else each for each in found]
    found = [each._replace(accepted=False) if each.number < 5 else each for each in found]
    stays = [each for each in left(found) if each.number < 20]
    assert all(each.accepted for each in stays[2:])
    assert len(stays) == len({each.at.date() for each in stays})


def test_what_is_oldest_stays_where_there_is_nothing_newer_and_what_was_accepted_by_a_person() -> None:
    quiet = [each for each in rows(100) if each.at < NOW - 60 * DAY]
    bare = [each._replace(accepted=False) if each.number > 40 else each for each in quiet]
    assert [each for each in bare if each.accepted][-1] in left(bare)
    unknown = [each._replace(identified=each.number < 33) for each in quiet]
    assert unknown[32] in left(unknown)
    backup = [each._replace(kind="backup", backup_id="b") if each.number == 13 else each for each in quiet]
    assert backup[13] in left(backup)
    assert quiet[14] not in left(quiet) and quiet[14] in left(quiet, accepted(quiet[14].at + timedelta(minutes=1)))
    ahead = accepted(NOW + 400 * DAY, quiet[14].number)
    assert quiet[14] in left(quiet, ahead), "the clock was wrong when it was accepted: its number tells"


def test_a_clock_that_is_far_ahead_for_a_day_forgets_nothing_that_is_in_the_window() -> None:
    found = left(rows(50))
    ahead, last = NOW + 400 * DAY, found[-1]
    wrong = [
        last._replace(number=last.number + 1, at=ahead - timedelta(hours=0.1), kind="backup", backup_id="b"),
        last._replace(number=last.number + 2, at=ahead),
    ]
    assert to_forget([*found, *wrong], [], ahead, 30) == []
    right = last._replace(number=last.number + 3, at=NOW)
    assert to_forget([*found, *wrong, right], [], NOW + DAY, 30) == to_forget([*found, right], [], NOW + DAY, 30)
    again = [each._replace(number=each.number + 3, at=each.at + 10 * DAY) for each in wrong]
    assert to_forget([*found, *wrong, right, *again], [], ahead + 10 * DAY, 30) == []


def test_after_a_long_rest_the_window_is_reckoned_by_what_was_before_it() -> None:
    found = left(rows(50))
    late = NOW + 60 * DAY
    found.append(found[-1]._replace(number=1000, at=late))
    assert to_forget(found, [], late, 30) == []
    assert len(to_forget(found, [], late + DAY, 30)) > 60
    assert to_forget([], [], NOW, 30) == []


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    (tmp_path / "targets.yaml").write_text(CONFIG)
    return load(str(tmp_path / "targets.yaml"))


def recorded(history: History, at: datetime, rows: int, *, accepted: bool = True) -> None:
    history.record(
        Observation(
            target="shop",
            checked_at=at,
            kind="verify",
            verdict="healthy",
            counts={"public.orders": rows},
            schema_objects={"table public.orders": f"{rows // 50}"},
            identity=SEEN if rows % 3 else None,
            accepted=accepted,
        )
    )


def test_a_history_is_judged_by_as_before_and_pruned_with_the_days_first_check_alone(settings: Config) -> None:
    with open_history(settings.history) as history:
        for n in range(240):
            at = NOW - 80 * DAY + n * timedelta(hours=8)
            recorded(history, at, 100 + n % 97, accepted=n % 7 != 0)
            if n == 40:
                history.accept("shop", {"public.orders": 5}, SEEN, "emptied", "somebody", at + timedelta(minutes=1))

        def known() -> list[object]:
            last = history.last_accepted("shop")
            latest = history.latest("shop", "verify")
            return [
                history.baseline("shop", NOW, 40),
                last and last.id,
                latest and latest.id,
                history.last_identity("shop"),
                history.last_schema("shop"),
                history.pin("shop"),
            ]

        before, many = known(), len(history.observations("shop"))
        gone = forget_old(settings, "shop", NOW)
        assert gone > 70
        assert len(history.observations("shop")) == many - gone
        assert known() == before
        recorded(history, NOW, 100)
        assert forget_old(settings, "shop", NOW + timedelta(minutes=15)) == 0, "later that day"


def test_a_history_that_cannot_be_used_costs_no_check(settings: Config, caplog: pytest.LogCaptureFixture) -> None:
    settings.state.write_text("a file")
    assert forget_old(settings, "shop", NOW) == 0
