"""Row counts as pictures: one line of text, or a panel for each table."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import HistoryError
from tasks.history.records import RowsOverTime
from tasks.history.table_names import resolve_table

if TYPE_CHECKING:
    import pandas as pd

_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_PANELS = 12
_MOST_EMBEDDED = 6
_LARGEST_EMBEDDED = 60_000  # bytes of PNG; a third more as a data: URI, which leaves room below 100 kB

# An opaque light card: readable in a dark interface and in a light one.
_CARD, _INK, _FAINT, _LINE, _ALARM = "#fbfbf9", "#24292f", "#6e7781", "#0b62a4", "#c4341f"


def sparkline(values: Sequence[float | None]) -> str:
    """One block for each value, from zero (lowest block) to the highest value; a space where there is none.

    It starts at zero on purpose: a loss of everything must look like one, and noise must look like nothing.
    """
    numbers = [None if value is None or _is_nan(value) else max(0.0, float(value)) for value in values]
    top = max((number for number in numbers if number is not None), default=0.0)
    return "".join(" " if number is None else _block(number, top) for number in numbers)


def _is_nan(value: Any) -> bool:
    # pandas' <NA> is neither a number nor comparable with one.
    return type(value).__name__ == "NAType" or math.isnan(value)


def _block(number: float, top: float) -> str:
    if top == 0:
        return _BLOCKS[0]
    return _BLOCKS[min(len(_BLOCKS) - 1, math.ceil(number / top * (len(_BLOCKS) - 1)))]


def most_important(rows: RowsOverTime, floors: Mapping[str, int], most: int = _MOST_PANELS) -> list[str]:
    """The tables to show first: those with a floor, then those that lost the largest share, then the
    largest."""

    def rank(table: str) -> tuple[bool, int, int, str]:
        counts = rows.tables[table]
        present = [count for count in counts if count is not None]
        if not present:
            return (table not in floors, 0, 0, table)
        top, now = max(present), present[-1]
        lost = 1.0 if counts[-1] is None else (top - now) / top if top else 0.0
        # In steps of 5 %: smaller losses are noise and must not reorder the picture every day.
        return (table not in floors, -int(lost * 20), -top, table)

    return sorted(rows.tables, key=rank)[:most]


def picture(frame: pd.DataFrame, target: str, path: Path, floors: Mapping[str, int]) -> None:
    """Write a PNG or SVG (by the suffix of `path`) with the rows of each table over time, at most 12 tables.

    `frame` is what History.frame returns; `floors` the configured minimum by table name. Raise HistoryError
    where there is nothing to draw or the file cannot be written.
    """
    if path.suffix.lower() not in (".png", ".svg"):
        raise HistoryError(f"A picture can be written as .png or .svg; {path.name} is neither.")
    if frame.empty or not len(frame.columns):
        raise HistoryError(f"There is no history of {target} to draw yet; run `rollcall verify {target}` first.")
    rows = _plain(frame)
    figure = _figure(rows, target, _qualified(floors, rows))
    try:
        figure.savefig(path, facecolor=_CARD, dpi=144)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise HistoryError(f"The picture {path} cannot be written: {reason}.") from error


def embedded(rows: RowsOverTime, target: str, floors: Mapping[str, int], alarming: Collection[str] = ()) -> str | None:
    """The same as a data: URI of a PNG for a report, of the six most important tables, or of as few as make it small
    enough. alarming: tables that a finding names. None where there is nothing to draw: a line needs two points.

    Every tracked check draws one, and so it draws without pandas, which takes half a second to load.
    """
    if len(rows.moments) < 2 or not rows.tables:
        return None
    qualified = _qualified(floors, rows)
    resolved = {resolve_table(name, rows.tables) for name in alarming}
    for most in range(_MOST_EMBEDDED, 0, -1):
        written = io.BytesIO()
        _figure(rows, target, qualified, most, resolved).savefig(written, format="png", facecolor=_CARD, dpi=110)
        if len(written.getvalue()) <= _LARGEST_EMBEDDED:
            return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode("ascii")
    return None


def _plain(frame: pd.DataFrame) -> RowsOverTime:
    columns = {str(table): frame[table].astype(object).where(frame[table].notna(), None) for table in frame.columns}
    return RowsOverTime(
        list(frame.index.to_pydatetime()),  # type: ignore[attr-defined]
        {table: list(counts) for table, counts in columns.items()},
    )


def _qualified(floors: Mapping[str, int], rows: RowsOverTime) -> dict[str, int]:
    """The floors by the names of the counted tables."""
    resolved = {resolve_table(name, rows.tables): floor for name, floor in floors.items()}
    return {table: floor for table, floor in resolved.items() if table is not None}


def _figure(
    rows: RowsOverTime,
    target: str,
    floors: Mapping[str, int],
    most: int = _MOST_PANELS,
    alarming: Collection[str | None] = (),
) -> Any:
    """The whole picture. A Figure of its own, without pyplot: nothing global, so safe in threads."""
    from matplotlib.figure import Figure

    tables = most_important(rows, floors, most)
    across = 1 if len(tables) == 1 else 2 if len(tables) <= 6 else 3
    down = math.ceil(len(tables) / across)
    figure = Figure(figsize=(4.6 * across + 0.4, 1.9 * down + 0.9), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.09, h_pad=0.07)  # type: ignore[union-attr, call-arg]
    panels = list(figure.subplots(down, across, squeeze=False, sharex=True).flat)
    for panel, table in zip(panels, tables, strict=False):
        _draw(panel, rows.moments, rows.tables[table], table, floors.get(table), alarming=table in alarming)
    _date(panels)
    for place in range(len(tables), len(panels)):
        panels[place].set_visible(False)
        panels[place - across].tick_params(labelbottom=True)  # the dates, which stand at the bottom panel alone
    hidden = len(rows.tables) - len(tables)
    more = f" (+ {hidden:,} more tables)" if hidden > 0 else ""
    figure.suptitle(f"{target}: rows by table{more}", color=_INK, fontsize=12, x=0.012, ha="left")
    return figure


def _draw(
    panel: Any, moments: list[datetime], counts: list[int | None], table: str, floor: int | None, *, alarming: bool
) -> None:
    """One table: a step line from zero, the floor dashed, the newest count written out."""
    values = [math.nan if count is None else float(count) for count in counts]
    present = [(moment, count) for moment, count in zip(moments, counts, strict=True) if count is not None]
    gone = counts[-1] is None
    now = 0 if gone else present[-1][1]
    bad = gone or alarming or (floor is not None and now < floor)
    panel.step(moments, values, where="post", color=_LINE, linewidth=1.6)
    panel.fill_between(moments, values, step="post", color=_LINE, alpha=0.10, linewidth=0)
    if present:
        color = _ALARM if bad else _LINE
        panel.plot(*present[-1], "o", markersize=4.5, color=color, clip_on=False)
    if floor is not None:
        panel.axhline(floor, color=_ALARM, linewidth=1, linestyle=(0, (4, 3)), alpha=0.8)
    title = "gone" if gone else f"{now:,.0f}"
    panel.set_title(_short(table), loc="left", fontsize=9, color=_INK)
    panel.set_title(title, loc="right", fontsize=9, color=_ALARM if bad else _INK, fontweight="bold")
    _dress(panel, max([count for _, count in present] + [floor or 0, 1]))


def _date(panels: Sequence[Any]) -> None:
    """Few and short dates below all panels, which share them."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    dates = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    # Each label says its month: what Matplotlib would put beside the axis instead runs into the panel below.
    within = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S.%f"]
    first = ["", "%Y", "%b", "%d %b", "%H:%M", "%H:%M"]
    labels = ConciseDateFormatter(dates, formats=within, zero_formats=first, show_offset=False)  # type: ignore[no-untyped-call]
    panels[0].xaxis.set_major_locator(dates)
    _fix(panels[0].xaxis, labels.format_ticks)


def _fix(axis: Any, label: Callable[[list[float]], list[str]]) -> None:
    """Find the ticks of `axis` once: Matplotlib would do so again for every panel, and at every step of the layout."""
    from matplotlib.ticker import FixedFormatter, FixedLocator

    places = list(axis.get_major_locator()())
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FixedFormatter(label(places)))


def _dress(panel: Any, top: float) -> None:
    """Axes: whole numbers with separators, no frame."""
    from matplotlib.ticker import MaxNLocator

    panel.set_ylim(0, top * 1.12)
    panel.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    _fix(panel.yaxis, lambda places: [f"{place:,.0f}" for place in places])
    panel.set_facecolor(_CARD)
    panel.tick_params(colors=_FAINT, labelsize=8, length=0)
    panel.grid(axis="y", color=_FAINT, alpha=0.18, linewidth=0.8)
    for side, spine in panel.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_FAINT)


def _short(table: str, most: int = 38) -> str:
    return table if len(table) <= most else f"{table[: most - 1]}…"
