"""The census: every Docker volume that holds a PostgreSQL cluster, what is in it, and where a target's data most likely
is. Volumes are only ever read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import docker

from tasks.config import Config
from tasks.containers.clusters import ClusterVolume, clusters_in
from tasks.containers.engine import engine
from tasks.containers.images import LocalImages
from tasks.containers.observe import COMPOSE_PROJECT
from tasks.containers.volumes import RUN_LABEL, STORY_LABEL, list_volumes
from tasks.errors import ConfigError
from tasks.history.store import open_history
from tasks.models import Model
from tasks.restore.counting import (
    Count,
    Counted,
    Extent,
    count_rows,
    drop_old_copies,
    is_copy,
    not_asked_for,
    owner_of,
)
from tasks.restore.ranking import Evidence, Expected, joined, key, weigh

log = logging.getLogger("rollcall")


class Entry(Model):
    """A cluster in a volume, and what is known of it.

    rank: 1 is the best match; state: clean, crashed, damaged or in use, in words; counts: rows by table of the
    target's database, None where they were not counted; counted_how: how, or why not; kept: the story of a volume that
    Rollcall keeps; evidence: one for each target that was asked for; reasons: the same in words.
    """

    rank: int = 0
    cluster: ClusterVolume
    state: str
    counts: dict[str, int] | None
    counted_how: str
    kept: str | None
    evidence: list[Evidence]
    reasons: list[str]

    @property
    def compose_project(self) -> str | None:
        """The compose project that made the volume."""
        return self.cluster.volume.labels.get(COMPOSE_PROJECT)

    @property
    def where(self) -> str:
        """The volume, and the place in it where that is not its root."""
        name, path = self.cluster.volume.name, self.cluster.path
        return f"{name} (in {path})" if path else name


def census(config: Config, target: str | None, count: Extent = "small", by: Count = count_rows) -> list[Entry]:
    """Every cluster in the engine's volumes, the best match first.

    target: whose data is looked for; None: that of the only target, or of all, and then nothing is counted. count:
    `small` counts volumes below 2 GiB, `all` every one, `none` none. Raise ConfigError, EngineError, HistoryError.
    """
    wanted = expectations(config, target)
    owners = [owner_of(config, each.target) for each in wanted]
    if target is None and len(config.engines()) > 1:
        raise ConfigError("The targets are on several Docker engines; name the target whose data is looked for.")
    with engine(wanted[0].rules.docker) as client:
        volumes = list_volumes(client)
        drop_old_copies(client, volumes, owners)
        images = LocalImages(client, wanted[0].rules.container)
        names = [each.name for each in volumes if not is_copy(each)]
        found = _look(client, images, names, owners[0])
        counted = [_count(client, config, wanted, cluster, images, count, by) for cluster in found]
    entries = [entry(cluster, rows, wanted) for cluster, rows in zip(found, counted, strict=True)]
    return ranked(entries)


def expectations(config: Config, target: str | None) -> list[Expected]:
    """What the data of the target (or of every one) is known by. Raise ConfigError, HistoryError."""
    names = [target] if target else list(config.targets)
    now = datetime.now(UTC)
    with open_history(config.history) as history:
        expected = []
        for name in names:
            rules, pin = config.target(name), history.pin(name)
            rows = history.baseline(name, now, rules.thresholds.window_days)
            expected.append(Expected(name, rules, pin.system_identifier if pin else None, rows))
    return expected


def _look(client: docker.DockerClient, images: LocalImages, names: Sequence[str], owner: str) -> list[ClusterVolume]:
    if not names:
        return []
    log.info("Looking into %d volumes", len(names))
    found = clusters_in(client, images.to_look_with(), names, owner)
    log.info("%d PostgreSQL clusters found", len(found))
    return found


def _count(
    client: docker.DockerClient,
    config: Config,
    wanted: Sequence[Expected],
    cluster: ClusterVolume,
    images: LocalImages,
    extent: Extent,
    by: Count,
) -> Counted:
    if len(wanted) != 1:
        return Counted(how="not counted: name a target to have its tables counted")
    reason = not_asked_for(cluster, extent)
    if reason:
        return Counted(how=reason)
    return by(client, config, wanted[0].target, cluster, images)


def entry(cluster: ClusterVolume, counted: Counted, wanted: Sequence[Expected]) -> Entry:
    """The cluster with what speaks for and against it (pure)."""
    evidence = [weigh(cluster, counted.counts, each) for each in wanted]
    labels = cluster.volume.labels
    return Entry(
        cluster=cluster,
        state=state_of(cluster),
        counts=counted.counts,
        counted_how=counted.how,
        kept=labels.get(STORY_LABEL) if RUN_LABEL in labels else None,
        evidence=evidence,
        reasons=_reasons(evidence),
    )


def _reasons(evidence: Sequence[Evidence]) -> list[str]:
    """What speaks for it and against it; with several targets, what speaks for it being which one's."""
    if len(evidence) == 1:
        return [*evidence[0].speaks_for, *evidence[0].speaks_against]
    return [f"for {each.target}, {joined(each.speaks_for)}" for each in evidence if each.speaks_for]


def state_of(cluster: ClusterVolume) -> str:
    """How the cluster was left, or who uses it, in words (pure)."""
    users = [each.container for each in cluster.volume.users if each.running]
    if users:
        return f"in use by {joined(list(dict.fromkeys(users)))}"
    if not cluster.control.sound:
        return "damaged: the checksum of its control file does not fit"
    if cluster.control.clean:
        return "clean"
    return f"crashed: its server ended while {cluster.control.state}"


def ranked(entries: Sequence[Entry]) -> list[Entry]:
    """The best match first, with ranks; with several targets, by what fits the one that it fits best (pure)."""
    ordered = sorted(entries, key=lambda each: max(key(each.cluster, one) for one in each.evidence), reverse=True)
    return [each.model_copy(update={"rank": rank}) for rank, each in enumerate(ordered, 1)]


def headline(entries: Sequence[Entry], target: str) -> str:
    """Where the target's data most likely is, because of what; or that nothing convinces (pure)."""
    known = [(each, one) for each in entries for one in each.evidence if one.target == target]
    if not known:
        return "No volume of this Docker engine holds a PostgreSQL cluster."
    known.sort(key=lambda pair: key(pair[0].cluster, pair[1]), reverse=True)
    best, evidence = known[0]
    if evidence.convinces:
        return f"Your data is most likely in {best.where}, because {_because(best, evidence)}."
    nearest = f"{best.where}: {joined([*evidence.speaks_for, *evidence.speaks_against]) or 'nothing is known of it'}"
    other = next((pair for pair in known if pair[1].convinces), None)
    if other is not None:
        return f"{nearest}. Your data is rather in {other[0].where}, because {_because(*other)}."
    return f"No volume convinces as the one with your data. The nearest is {nearest}.{_uncounted(entries)}"


def _because(best: Entry, evidence: Evidence) -> str:
    against = list(evidence.speaks_against)
    if best.counts is None:
        against.append("its rows were not counted")
    return joined(evidence.speaks_for) + (f"; though {joined(against)}" if against else "")


def _uncounted(entries: Sequence[Entry]) -> str:
    left = sum(each.counts is None for each in entries)
    return f" The rows of {left} of {len(entries)} were not counted." if left else ""
