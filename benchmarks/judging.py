"""How often does the judge notice a loss, and how often does it cry wolf?

Goes through random tables day by day with the production judge and with two common rules, and writes the
figures into docs/judging.md. Run: `python -m benchmarks.judging` (under a minute on one core; the same
figures each time).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.history.replay import Replay
from tasks.models import verdict_of

Rows = NDArray[np.int64]
Said = NDArray[np.bool_]

SEED = 20260201
DAYS = 60
WARM_UP = 14
LOSS_DAY = 45
NAMES = ("rollcall", "three_sigma", "ten_percent")
HEADS = ("Rollcall", "3 sigma of 14 days", "10 % under the day before")
DOCS = Path(__file__).resolve().parent.parent / "docs" / "judging.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

# Share of the rows that is lost on LOSS_DAY, from and to; a leak loses that share every day from then on.
LOSSES: dict[str, tuple[float, float]] = {
    "wrong volume (0 to 2 % of the rows there)": (0.98, 1.0),
    "truncated (no rows)": (1.0, 1.0),
    "50 to 95 % lost": (0.50, 0.95),
    "20 to 50 % lost": (0.20, 0.50),
    "10 to 20 % lost": (0.10, 0.20),
    "5 to 10 % lost": (0.05, 0.10),
    "2 to 5 % lost": (0.02, 0.05),
    "slow leak, 1 to 3 % a day": (0.01, 0.03),
}
TOTAL = tuple(LOSSES)[:2]
LEAK = tuple(LOSSES)[-1]


@dataclass(frozen=True)
class World:
    """Random tables: rows by table and day, the days of declared purges, and which loss each table meets."""

    rows: Rows
    purged: Said
    loss: NDArray[np.int64]
    churning: Said


def make_world(series: int, seed: int = SEED) -> World:
    """`series` random tables over DAYS days, from 20 to 5 million rows, a fixed choice for each seed."""
    random = np.random.default_rng(seed)
    kind = random.choice(4, size=series, p=[0.20, 0.55, 0.20, 0.05])
    start = np.exp(random.uniform(np.log(20), np.log(5_000_000), series))
    growth = np.where(kind == 0, 0.0, random.uniform(0, 0.015, series))
    noise = np.choose(kind, [0.0, 0.002, 0.004, 0.08])[:, None]
    weekly = np.where(kind == 2, random.uniform(0, 0.02, series), 0.0)[:, None]
    day = np.arange(DAYS)
    level = start[:, None] * np.exp(np.outer(growth, day))
    level = level * (1 + weekly * np.sin(2 * np.pi * (day + random.integers(0, 7, (series, 1))) / 7))
    level = level * np.maximum(0.3, 1 + noise * random.standard_normal((series, DAYS)))
    imports = (random.random((series, DAYS)) < 0.01) & (kind != 0)[:, None]
    purged = (random.random((series, DAYS)) < 0.005) & (kind != 0)[:, None] & ~imports
    purged[:, 0] = purged[:, LOSS_DAY:] = False
    jumps = np.where(imports, random.uniform(1.1, 1.6, (series, DAYS)), 1.0)
    jumps = np.where(purged, random.uniform(0.4, 0.9, (series, DAYS)), jumps)
    rows = np.maximum(1, level * np.cumprod(jumps, axis=1)).astype(np.int64)
    which = np.arange(series) % len(LOSSES)
    return World(_with_losses(rows, which, random), purged, which, kind == 3)


def _with_losses(rows: Rows, which: NDArray[np.int64], random: np.random.Generator) -> Rows:
    """Every table meets its loss on LOSS_DAY, and nobody repairs it."""
    low, high = np.array(list(LOSSES.values())).T
    share = random.uniform(low[which], high[which])[:, None]
    days = np.arange(1, DAYS - LOSS_DAY + 1)
    left = np.where((which == len(LOSSES) - 1)[:, None], (1 - share) ** days, 1 - share)
    hurt = rows.copy()
    hurt[:, LOSS_DAY:] = np.floor(rows[:, LOSS_DAY:] * left).astype(np.int64)
    return hurt


def rollcall_says(world: World) -> tuple[Said, Said]:
    """The days with a warning or worse, and those that are critical, by the production judge.

    A declared purge is accepted on its day. A false alarm is accepted on its day too, as a person would.
    """
    alarm = np.zeros(world.rows.shape, dtype=bool)
    critical = np.zeros(world.rows.shape, dtype=bool)
    for number, series in enumerate(world.rows.tolist()):
        replay = Replay()
        for day, rows in enumerate(series):
            counts = {"public.t": rows}
            if world.purged[number, day]:
                replay.now += replay.step
                replay.accept(counts)
                continue
            verdict = verdict_of(replay.day(counts))
            alarm[number, day] = verdict != "healthy"
            critical[number, day] = verdict == "critical"
            if alarm[number, day] and day < LOSS_DAY:
                replay.accept(counts)
    return alarm, critical


def three_sigma_says(rows: Rows) -> Said:
    """Fewer rows than the mean of the 14 days before minus three standard deviations."""
    said = np.zeros(rows.shape, dtype=bool)
    windows = np.lib.stride_tricks.sliding_window_view(rows.astype(np.float64), WARM_UP, axis=1)
    limit = windows.mean(axis=2) - 3 * windows.std(axis=2)
    said[:, WARM_UP:] = rows[:, WARM_UP:] < limit[:, :-1]
    return said


def ten_percent_says(rows: Rows) -> Said:
    """More than 10 % below the day before."""
    said = np.zeros(rows.shape, dtype=bool)
    said[:, 1:] = rows[:, 1:] < 0.9 * rows[:, :-1]
    return said


@dataclass(frozen=True)
class Rates:
    """Shares from 0 to 1, by rule: noticed at once (a leak: within 15 days), still said two weeks later."""

    noticed: dict[str, dict[str, float]]
    still: dict[str, dict[str, float]]
    false_alarms: dict[str, float]
    false_alarms_steady: dict[str, float]
    false_critical: float


def measure(world: World) -> Rates:
    """Detection for each kind of loss, and false alarms per table and day before it, for each rule."""
    ours, critical = rollcall_says(world)
    says = dict(zip(NAMES, (ours, three_sigma_says(world.rows), ten_percent_says(world.rows)), strict=True))
    before = np.zeros(world.rows.shape, dtype=bool)
    before[:, WARM_UP:LOSS_DAY] = True
    before &= ~world.purged  # what was declared is no false alarm, whoever alarms
    steady = before & ~world.churning[:, None]
    noticed: dict[str, dict[str, float]] = {}
    still: dict[str, dict[str, float]] = {}
    for number, loss in enumerate(LOSSES):
        hit = world.loss == number
        days = slice(LOSS_DAY, DAYS if loss == LEAK else LOSS_DAY + 1)
        noticed[loss] = {name: float(said[hit, days].any(axis=1).mean()) for name, said in says.items()}
        still[loss] = {name: float(said[hit, DAYS - 1].mean()) for name, said in says.items()}
    return Rates(
        noticed,
        still,
        {name: float(said[before].mean()) for name, said in says.items()},
        {name: float(said[steady].mean()) for name, said in says.items()},
        float(critical[before].mean()),
    )


def table_of(rates: Rates, series: int) -> str:
    """The figures as Markdown."""
    lines = [
        f"{series:,} tables, {DAYS} days each, seed {SEED}. First figure: alarmed on the day of the loss "
        "(the leak: within 15 days); second: still alarming two weeks later, when nobody has acted.",
        "",
        f"| loss | {' | '.join(HEADS)} |",
        "|---|---|---|---|",
    ]
    for loss in LOSSES:
        cells = [f"{rates.noticed[loss][name]:.1%}, {rates.still[loss][name]:.1%}" for name in NAMES]
        lines.append(f"| {loss} | {' | '.join(cells)} |")
    lines += [
        "",
        f"| false alarms, per 1,000 healthy table-days | {' | '.join(HEADS)} |",
        "|---|---|---|---|",
        _per_thousand("all tables", rates.false_alarms),
        _per_thousand("without the 5 % that churn (±8 % a day, such as queues)", rates.false_alarms_steady),
        "",
        f"Of Rollcall's false alarms {rates.false_critical * 1000:.2f} per 1,000 table-days are critical, "
        "the others warnings.",
    ]
    return "\n".join(lines).replace("%,", " %,").replace("% |", " % |").replace("  %", " %")


def _per_thousand(what: str, rates: dict[str, float]) -> str:
    return f"| {what} | {' | '.join(f'{rates[name] * 1000:.2f}' for name in NAMES)} |"


def write(table: str, path: Path = DOCS) -> None:
    """Replace the figures in the page. Raise ValueError where its markers are gone."""
    page = path.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"{path} has lost its markers {BEGIN} and {END}")
    path.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}", encoding="utf-8")


def main(arguments: Any = None) -> None:
    """Measure and write the page; with `--series N` only print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, help="a smaller run: prints the figures and writes nothing")
    series = parser.parse_args(arguments).series
    began = time.monotonic()
    table = table_of(measure(make_world(series or 10_000)), series or 10_000)
    print(table, f"\n{time.monotonic() - began:.0f} s")
    if series is None:
        write(table)


if __name__ == "__main__":
    main()
