"""Pictures of the counts: they are real files, show what matters first, and hide no loss."""

import struct
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import HistoryError
from tasks.history.chart import most_important, picture, sparkline
from tasks.history.records import RowsOverTime


def frame_of(data: dict[str, list[int | None]]) -> pd.DataFrame:
    length = len(next(iter(data.values())))
    index = pd.date_range("2026-01-01", periods=length, freq="D", tz="UTC", name="checked_at")
    return pd.DataFrame({name: pd.array(rows, dtype="Int64") for name, rows in data.items()}, index=index)


INCIDENT = frame_of({"public.experts": [85, 85, 1], "public.knowledge_nodes": [26_000, 26_337, 27]})


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([85, 85, 1, 0], "██▂▁"),
        ([0, 0], "▁▁"),
        ([1, None, float("nan"), pd.NA, 1], "█   █"),
        ([26_337, 26_336], "██"),
        ([0, 50, 100], "▁▅█"),
    ],
)
def test_a_line_of_blocks_starts_at_zero(values: list[float | None], drawn: str) -> None:
    assert sparkline(values) == drawn


def test_tables_with_a_floor_come_first_then_losses_then_size() -> None:
    tables: dict[str, list[int | None]] = {
        "s.big": [9000, 9000], "s.lost": [10, 1], "s.gone": [5, None], "s.never": [None, None], "s.floor": [3, 3],
    }  # fmt: skip
    found = most_important(RowsOverTime([], tables), {"s.floor": 1})
    assert found == ["s.floor", "s.gone", "s.lost", "s.big", "s.never"]


DRAWN_FOR_A_REPORT = """
import sys
from datetime import UTC, datetime, timedelta
from tasks.history.chart import embedded
from tasks.history.records import RowsOverTime
days = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(3)]
rows = RowsOverTime(days, {"public.experts": [85, 85, 1], "public.gone": [3, 3, None]})
assert embedded(rows, "shop", {"experts": 80})
print([name for name in ("pandas", "matplotlib.pyplot") if name in sys.modules])
"""


def test_the_picture_of_a_report_is_drawn_without_pandas_and_pyplot() -> None:
    """Every tracked check draws one, and each of these takes half a second to load."""
    ran = subprocess.run([sys.executable, "-c", DRAWN_FOR_A_REPORT], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_png_is_written_with_a_panel_for_each_table(tmp_path: Path) -> None:
    path = tmp_path / "history.png"
    picture(INCIDENT, "knowledge_os", path, {"experts": 80})
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert width > 1000
    assert height > 300


def test_an_svg_is_written_for_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "history.svg"
    picture(INCIDENT, "knowledge_os", path, {})
    assert "<svg" in path.read_text()[:1000]


@pytest.mark.parametrize(
    "frame",
    [
        frame_of({"public.a": [5]}),
        frame_of({"public.a": [None, None]}),
        frame_of({"public.a": [0, 0], "public.b": [None, 3]}),
        frame_of({f"public.t{number}": [number, number + 1] for number in range(40)}),
    ],
    ids=["one observation", "no rows at all", "empty and new", "forty tables"],
)
def test_odd_histories_are_drawn_too(frame: pd.DataFrame, tmp_path: Path) -> None:
    picture(frame, "knowledge_os", tmp_path / "odd.png", {"a": 3})
    assert (tmp_path / "odd.png").stat().st_size > 1000


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"\.png or \.svg"):
        picture(INCIDENT, "knowledge_os", tmp_path / "history.gif", {})
    with pytest.raises(HistoryError, match="no history of knowledge_os"):
        picture(INCIDENT.iloc[:0], "knowledge_os", tmp_path / "history.png", {})
    with pytest.raises(HistoryError, match="cannot be written: no such file or directory"):
        picture(INCIDENT, "knowledge_os", tmp_path / "nowhere" / "history.png", {})
