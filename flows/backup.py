"""Back up a target: look, take, prove, judge, file, rotate, tell."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks import menu, orchestration
from tasks.backups.file import compose_manifest
from tasks.backups.ledger import Ledger
from tasks.checks.judgement import Judgement, lost_findings
from tasks.checks.lock import only_run
from tasks.checks.look import Seen
from tasks.checks.shelves import freshness_findings, storage_findings
from tasks.config import Config, load
from tasks.errors import DatabaseError, RollcallError, StorageError, tellable
from tasks.models import Manifest


@orchestration.flow(name="backup", run_name="backup {target}")
def backup(target: str, config: str | None = None) -> Manifest:
    """Back up every database of a target's cluster, prove the copies, judge the rows, rotate, tell.

    Args:
        target: Name of the target, as in the configuration.
        config: Path of the configuration file; left empty: $ROLLCALL_CONFIG, else deployments/targets.yaml.
    """
    settings = load(config)
    settings.target(target)
    menu.ping_start(settings, target, "backup")
    try:
        with only_run(settings.state, target):
            menu.recover_first(settings, target)
            manifest = back_up(settings, target)
    except Exception as error:
        menu.tell_failure(settings, target, "backup", tellable(error))
        raise
    menu.ping_done(settings, target, "backup", manifest.verdict, manifest.findings)
    return manifest


def back_up(settings: Config, target: str, occasion: str = "") -> Manifest:
    """One backup, by whoever holds the target's lock: a nightly run, or a restore that begins with one (`occasion`)."""
    now = datetime.now(UTC)
    ledger = Ledger(now, settings.target(target).storages)
    try:
        return _backup(settings, target, now, ledger, occasion)
    except RollcallError as error:
        menu.discard(settings, target, ledger.id, ledger.unlisted)
        if ledger.filed:
            raise RollcallError(
                f"Backup {ledger.id} is stored and whole, but what comes after failed: {error}"
            ) from error
        raise


def _backup(settings: Config, target: str, now: datetime, ledger: Ledger, occasion: str) -> Manifest:
    menu.sweep(settings, target)
    lost = menu.restore_history(settings, target)
    rules = settings.target(target)
    container = menu.look_at_container(rules)
    seen = menu.look_at_cluster(rules, container)
    identity = menu.judge_cluster(settings, target, seen.identity)
    place = menu.look_for_volume(rules, seen.identity)
    ledger.lap("look")

    _take(settings, target, seen, ledger, occasion)
    _prove(settings, target, seen, ledger)

    # Who came while it was taken may have written; who has gone since, too.
    place += [each for each in menu.look_for_volume(rules, seen.identity) if each not in place]
    tally, others = ledger.tally_of(rules.database), ledger.others(rules.database)
    judgement = menu.judge_tally(settings, target, None if rules.database in ledger.lost else tally, now)
    judgement = judgement.with_findings(
        [
            *lost,
            *lost_findings(ledger.lost),
            *identity,
            *place,
            *menu.judge_others(settings, target, seen.databases, others, now),
        ]
    )
    known = judgement.with_findings(storage_findings(ledger.failed))
    manifest = compose_manifest(settings, target, now, seen, ledger, known, occasion)
    ledger.file(menu.write_manifests(settings, manifest))
    menu.remember(settings, target, "backup", now, known, tally, seen.identity, manifest.id)
    menu.remember_others(settings, target, now, known, others, manifest)
    return _finish(settings, manifest, judgement, ledger)


def _take(settings: Config, target: str, seen: Seen, ledger: Ledger, occasion: str) -> None:
    """Every database, the globals and the settings, into every storage that is still there.

    One database that cannot be taken does not cost the others their backup; on an `occasion` the whole is needed.
    """
    for database in seen.databases:
        try:
            ledger.add(menu.take_database(settings, target, seen, ledger.id, database, ledger.storages))
        except DatabaseError as error:
            if occasion:
                raise
            ledger.lose(database, error)
        ledger.lap(f"take {database}")
    ledger.require_content(settings.target(target).database)
    if settings.target(target).roles:
        ledger.add(menu.take_globals(settings, target, seen, ledger.id, ledger.storages))
    ledger.add(menu.take_settings(settings, target, seen, ledger.id, ledger.storages))
    ledger.lap("take globals and settings")


def _prove(settings: Config, target: str, seen: Seen, ledger: Ledger) -> None:
    """Every stored byte read back; every dump's table of contents held against its tally."""
    for storage in tuple(ledger.storages):
        try:
            menu.read_objects(settings, storage, ledger.objects)
        except StorageError as error:
            ledger.drop({storage: str(error)})
    ledger.lap("read back")
    ledger.replace([menu.read_contents(settings, target, seen, part, ledger.storages) for part in ledger.dumps])
    ledger.lap("read contents")


def _finish(settings: Config, manifest: Manifest, judgement: Judgement, ledger: Ledger) -> Manifest:
    """The backup exists: rotate, clear what is in storages that dropped out, tell."""
    target = manifest.target
    rotation = menu.rotate(settings, target, critical=manifest.quarantined, occasion=manifest.occasion)
    menu.discard(settings, target, ledger.id, ledger.unlisted)
    found = menu.look_at_backups(settings, target)
    menu.remember_backups(settings, target, found)
    failed = {name: why for name, why in (ledger.failed | rotation.failed).items() if name not in found.unreachable}
    judgement = judgement.with_findings([*storage_findings(failed), *freshness_findings(settings, target, found)])
    told = menu.tell(settings, target, judgement, manifest.identity, manifest.tally.counts, rotation.newest_good)
    judgement = judgement.with_findings(told)
    manifest = manifest.model_copy(update={"findings": judgement.findings, "verdict": judgement.verdict})
    menu.report_backup(settings, manifest, judgement.expected, rotation)
    return manifest
