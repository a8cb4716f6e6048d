"""Everything a run can do: each task, the name it has in Prefect's UI, and how a transient failure is retried.

Flows order from here and from nowhere else. What the tasks are made of is Prefect-free and lives in the packages.
"""

from __future__ import annotations

from tasks import reports
from tasks.alerts import ping
from tasks.alerts import tell as telling
from tasks.backups import file, proof, take
from tasks.checks import judgement, look, shared, shelves
from tasks.history import pruning
from tasks.leaving import act as leaving
from tasks.leaving import look as leaving_look
from tasks.orchestration import NEVER, Retry, task
from tasks.restore import drill, execute, proposal, proven
from tasks.restore import recover as recovery
from tasks.restore import tell as restored

QUICK = Retry(times=3, first_wait=1.0)
"""For what takes seconds: asking the engine, the database, a storage."""
LONG = Retry(times=2, first_wait=5.0)
"""For what takes minutes: taking a database."""

# Looking
restore_history = task(shelves.restore_history, name="restore history if it is lost", retry=QUICK)
look_at_container = task(look.look_at_container, name="look at container", retry=QUICK)
look_at_cluster = task(look.look_at_cluster, name="look at cluster", retry=QUICK)
look_for_volume = task(shared.place_findings, name="look at the pinned volume", retry=QUICK)
look_at_backups = task(shelves.shelves, name="look at backups", retry=QUICK)
remember_backups = task(shelves.remember_backups, name="remember backups", retry=NEVER)
take_tally = task(look.take_tally, name="take tally", retry=QUICK)

# Judging
judge_absence = task(judgement.judge_absence, name="judge absence", retry=NEVER)
judge_cluster = task(judgement.judge_cluster, name="judge identity", retry=NEVER)
judge_tally = task(judgement.judge_tally, name="judge tally", retry=NEVER)
judge_others = task(judgement.judge_others, name="judge other databases", retry=NEVER)
remember_others = task(judgement.remember_others, name="remember other databases", retry=NEVER)
forget_old = task(pruning.forget_old, name="forget what is old", retry=NEVER)
remember = task(judgement.remember, name="remember", retry=NEVER)

# Taking
take_database = task(take.take_database, name="take database", retry=LONG)
take_globals = task(take.take_globals, name="take globals", retry=LONG)
take_settings = task(take.take_settings, name="take settings", retry=LONG)
sweep = task(take.sweep, name="sweep what a killed run left", retry=QUICK)
discard = task(take.discard_backup, name="discard unfinished backup", retry=NEVER)

# Proving and filing
read_objects = task(proof.read_objects, name="read back objects", retry=QUICK)
read_contents = task(proof.read_contents, name="read back contents", retry=QUICK)
write_manifests = task(file.write_manifests, name="write manifests", retry=NEVER)
rotate = task(file.rotate, name="rotate", retry=NEVER)

# Restoring
propose = task(proposal.propose, name="look and plan", retry=QUICK)
confirm_unchanged = task(proposal.confirm_unchanged, name="look again after approval", retry=QUICK)
begin_restore = task(proposal.begin, name="begin the journal", retry=NEVER)
rebuild = task(execute.rebuild, name="rebuild", retry=NEVER)
give_up = task(execute.give_up, name="undo what was rebuilt", retry=NEVER)
carry_out = task(execute.carry_out, name="carry out", retry=NEVER)
note_proof = task(proven.note_restored, name="note the proof", retry=QUICK)
recover = task(recovery.recover, name="recover", retry=NEVER)
refuse_interrupted = task(recovery.refuse_interrupted, name="look for an unfinished restore", retry=NEVER)
recover_first = task(recovery.recover_first, name="end an interrupted restore", retry=NEVER)
sweep_drill = task(drill.sweep_drill, name="sweep what a killed drill left", retry=QUICK)
drill_backup = task(drill.drill_backup, name="rebuild and prove", retry=NEVER)
remember_drill = task(drill.remember_drill, name="remember the drill", retry=NEVER)
look_for_interruption = task(recovery.interruption_findings, name="look for an interrupted restore", retry=NEVER)

# Bringing a project down
only_this_engine = task(leaving_look.only_this_engine, name="look which targets are on this engine", retry=QUICK)
look_at_compose = task(leaving_look.look_at_project, name="look at the Compose project", retry=QUICK)
check_reliable = task(leaving.check_reliable, name="check that the backups may be relied on", retry=QUICK)
stop_all = task(leaving.stop_all, name="stop the project", retry=NEVER)
later_writes = task(leaving.later_writes, name="look for later writes", retry=QUICK)
start_databases = task(leaving.start_databases, name="start the databases alone", retry=NEVER)
start_after_a_killed_one = task(leaving.start_after_a_killed_one, name="start what a killed down stopped", retry=NEVER)
start_again = task(leaving.start_again, name="start again", retry=NEVER)
bring_down = task(leaving.bring_down, name="compose down", retry=NEVER)
remove_volumes = task(leaving.remove_volumes, name="remove volumes", retry=NEVER)

# Telling
ping_start = task(ping.ping_start, name="tell outside that it begins", retry=NEVER)
ping_done = task(ping.ping_done, name="tell outside how it ended", retry=NEVER)
tell_first = task(telling.tell_first, name="tell what is certain", retry=NEVER)
tell = task(telling.tell, name="tell", retry=NEVER)
tell_failure = task(reports.report_failure, name="tell of failure", retry=NEVER)
report_backup = task(reports.report_backup, name="report backup", retry=NEVER)
tell_restored = task(restored.tell_restored, name="tell of restore", retry=NEVER)
report_drill = task(reports.report_drill, name="report drill", retry=NEVER)
report_plan = task(reports.report_plan, name="report plan", retry=NEVER)
report_restore = task(reports.report_restore, name="report restore", retry=NEVER)
report_check = task(reports.report_check, name="report check", retry=NEVER)
