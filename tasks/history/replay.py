"""Days gone through one by one with the production judge: for tests, benchmarks and trying thresholds
(pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tasks.config import TableRule, Thresholds
from tasks.history.baseline import baseline_of
from tasks.history.judge import is_accepted, judge_counts
from tasks.history.records import Acceptance, Tallied
from tasks.models import Finding

START = datetime(2026, 1, 1, 2, 0, tzinfo=UTC)


@dataclass
class Replay:
    """One target's days: each is judged by the accepted ones before it, and accepted or not, as `verify`
    does."""

    rules: Mapping[str, TableRule] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    now: datetime = START
    step: timedelta = timedelta(days=1)
    tallies: list[Tallied] = field(default_factory=list)
    acceptances: list[Acceptance] = field(default_factory=list)

    def day(self, counts: Mapping[str, int]) -> list[Finding]:
        """The findings of the next day, on which `counts` were seen."""
        self.now += self.step
        baseline = baseline_of(self._relevant(), self.acceptances, self.now, self.thresholds.window_days)
        findings = judge_counts(counts, baseline, self.rules, self.thresholds)
        if is_accepted(findings):
            self.tallies.append(Tallied(self.now, counts))
        return findings

    def days(self, series: Iterable[Mapping[str, int]]) -> list[list[Finding]]:
        """The findings of each of the next days."""
        return [self.day(counts) for counts in series]

    def accept(self, counts: Mapping[str, int], table: str | None = None) -> None:
        """A person accepts `counts`, of `table` or of all, later on the same day."""
        self.acceptances.append(
            Acceptance(
                target="replay",
                at=self.now,
                table=table,
                counts=dict(counts),
                reason="replay",
                accepted_by="replay",
            )
        )

    def _relevant(self) -> list[Tallied]:
        """The tallies of the window, and the last one however old: no other can matter (as History reads
        them)."""
        since = self.now - timedelta(days=self.thresholds.window_days)
        first = len(self.tallies)
        while first and self.tallies[first - 1].at >= since:
            first -= 1
        return self.tallies[first:] or self.tallies[-1:]
