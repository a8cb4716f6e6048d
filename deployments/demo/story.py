"""The story: what happened on 1 February, with Rollcall there. Each step shows real output and is held to be true."""

from __future__ import annotations

import re

from deployments.demo import stage
from deployments.demo.scene import CONTAINER, FOLDER, RIGHT_VOLUME, TARGET, WRONG_VOLUME, Scene, rollcall, wait_until
from deployments.demo.servers import Phone, Servers
from deployments.demo.voice import Voice, expect

CRITICAL = 2
RUNS_TRACKED = 9


class Story:
    """What the steps share: the scene, the voice, the servers, and what was seen so far."""

    def __init__(self, scene: Scene, voice: Voice, servers: Servers, phone: Phone) -> None:
        self.scene, self.voice, self.servers, self.phone = scene, voice, servers, phone
        self.compose = stage.compose_command()
        self.right_cluster = ""
        self.wrong_cluster = ""
        self.caught_after = 0.0

    def tell(self) -> None:
        """All of it. Raise DemoError at the first step that does not come out as it must."""
        self._two_projects()
        self._a_good_night()
        self._the_accident()
        self._caught()
        self._alerted()
        self._the_next_night()
        self._where_is_it()
        self._the_way_back()
        self._up_again()
        self._second_act()
        self._from_s3()
        self._tracked()

    def _two_projects(self) -> None:
        self.voice.step(
            "Two Compose projects, atra and knowledge_os, bring the same database server",
            f"Both say container_name: {CONTAINER}, and neither pins its volume. atra is up and holds a year of work.",
        )
        self._up("atra")
        stage.grow(self.scene)
        self.servers.ready()
        self.right_cluster = stage.cluster_number(self.scene)
        self._dashboard("experts 85, nodes 26337")

    def _a_good_night(self) -> None:
        self.voice.step("A good night: a backup to a local folder and to S3, then a check")
        stored = self._rollcall("backup", exits=0)
        for storage in ("local", "offsite"):
            expect(f"{storage}:" in stored, f"The first backup names no copy in {storage}.")
        checked = self._rollcall("verify", exits=0)
        expect("HEALTHY" in checked, "The healthy database was not called healthy.")
        expect(not self.phone.messages, "An alert came although nothing was wrong.")

    def _the_accident(self) -> None:
        self.voice.step("The accident: `down` in one project, `up` in the other")
        self._compose("atra", "down")
        self._up("knowledge_os")
        self.wrong_cluster = stage.cluster_number(self.scene)
        self.voice.say("Compose made a new volume, and an init script built the schema. What used to watch it says:")
        ready = "docker exec knowledge_postgres pg_isready"
        self.voice.command(ready)
        self.voice.output(self.scene.must(ready.split()))
        self._dashboard("experts 1, nodes 27")
        broken = stage.psql(self.scene, "SELECT name, usage_count FROM experts")
        self.voice.output("every page:  " + next(iter(broken.stderr.splitlines()), ""))

    def _caught(self) -> None:
        self.voice.step("Caught: verify exits 2 and says what is wrong and what is right")
        before = self.voice.elapsed
        said = self._rollcall("verify", exits=CRITICAL)
        self.caught_after = self.voice.elapsed - before
        clusters = (self.right_cluster, self.wrong_cluster)
        for needed in (RIGHT_VOLUME, WRONG_VOLUME, *clusters, "85", "26,337", "27"):
            expect(bool(needed) and needed in said, f"verify does not name {needed or 'a cluster'}.")
        self.voice.good("exit 2; both volumes, both clusters, and the rows of every table before and now")

    def _alerted(self) -> None:
        self.voice.step("The alert, as it was delivered (here over HTTP; any Apprise URL: Telegram, Slack, e-mail ...)")
        wait_until(lambda: bool(self.phone.messages), 10, "The alert")
        expect(len(self.phone.messages) == 1, f"{len(self.phone.messages)} alerts came for one accident.")
        alert = self.phone.messages[0]
        expect("CRITICAL" in alert["title"], "The alert does not say that it is critical.")
        self._show_message(alert)

    def _the_next_night(self) -> None:
        self.voice.step("The nightly backup runs all the same: kept, but in quarantine, and nothing old is deleted")
        said = self._rollcall(
            "backup", exits=CRITICAL, also="Rotation is frozen", show="QUARAN|local|offsite|rows in 3|volume.mis"
        )
        expect("QUARANTINED" in said, "The backup of the wrong volume was not quarantined.")
        expect("Rotation is frozen" in said, "Rotation was not frozen by the wrong volume.")
        listed = self._rollcall("backups", exits=0)
        for row in (r"QUARANTINED .*local, offsite .* 29$", r"healthy .*local, offsite .* 26,434$"):
            expect(bool(re.search(row, _plain(listed), re.MULTILINE)), "A backup is not where it should be.")
        self.voice.good("the good backup is still in both storages, and it is the one that a restore would take")

    def _where_is_it(self) -> None:
        self.voice.step("Where is the data? Every volume that holds a cluster, the best match first")
        said = self._rollcall("census", exits=0, show=r"most likely|because|_data")
        expect(RIGHT_VOLUME in said.split("because")[0], "The census does not put the right volume first.")

    def _the_way_back(self) -> None:
        self.voice.step("The way back: a plan, a person who types the target's name, and the right volume again")
        told = len(self.phone.messages)
        self._rollcall("restore-volume", "--dry-run", exits=0)
        said = self._rollcall("restore-volume", exits=0, typed=TARGET)
        expect("RESTORED" in said, "The target was not restored.")
        self._dashboard("experts 85, nodes 26337")
        checked = self._rollcall("verify", exits=0, show=r"HEALTHY|container|experts|knowledge_nodes")
        expect("HEALTHY" in checked, "Back on the right volume the database was not called healthy.")
        wait_until(lambda: len(self.phone.messages) > told + 1, 10, "The news that all is well again")
        self._show_message(self.phone.messages[told], lines=3)
        self._show_message(self.phone.messages[-1], lines=1)

    def _up_again(self) -> None:
        self.voice.step("The project that went astray is started once more: its file is mended, so the data stays")
        self._up("knowledge_os", quiet=True)
        expect(stage.cluster_number(self.scene) == self.right_cluster, "`up` brought the wrong volume back.")
        self._dashboard("experts 85, nodes 26337")

    def _second_act(self) -> None:
        self.voice.step("Second act: somebody drops a table, and the disk with the local backups is gone too")
        self.voice.command("psql knowledge_os -c 'DROP TABLE knowledge_nodes CASCADE'")
        self.voice.output(stage.psql(self.scene, "DROP TABLE knowledge_nodes CASCADE").stdout.strip())
        (FOLDER / "backups").rename(FOLDER / "backups-on-a-disk-that-is-gone")
        said = self._rollcall("verify", exits=CRITICAL, show=r"CRITICAL|table\.missing")
        expect("table.missing" in said, "The dropped table was not missed.")

    def _from_s3(self) -> None:
        self.voice.step("Restored from the copy in S3: rebuilt aside, proven equal, exchanged; the old data is kept")
        said = self._rollcall("restore-volume", "--backup", "latest", exits=0, typed=TARGET, show="RESTORED|^  ")
        expect("RESTORED" in said, "The target was not restored from S3.")
        self._dashboard("experts 85, nodes 26337")
        listed = self._rollcall("kept", exits=0)
        expect(len(stage.kept_volumes(self.scene)) == 1 and "rollcall-" in listed, "The old data is not kept.")

    def _tracked(self) -> None:
        runs = self.servers.api("flow_runs/filter", {"sort": "START_TIME_ASC"})
        names = [f"{run['name']} ({run['state_name']})" for run in runs]
        self.voice.step("Every run is in Prefect's UI, with its report", ", ".join(names))
        expect(len(names) == RUNS_TRACKED, f"Prefect tracked {len(names)} runs where {RUNS_TRACKED} were made.")

    def _up(self, project: str, quiet: bool = False) -> None:
        self._compose(project, "up", "-d", quiet=quiet)
        stage.wait_for_database(self.scene)

    def _compose(self, project: str, *arguments: str, quiet: bool = False) -> None:
        self.voice.command(f"cd {project} && {' '.join([*self.compose, *arguments])}")
        said = stage.compose(self.scene, self.compose, project, *arguments)
        if not quiet:
            self.voice.output(said)

    def _dashboard(self, expected: str) -> None:
        counts = "SELECT format('experts %s, nodes %s', (SELECT count(*) FROM experts), count(*)) FROM knowledge_nodes"
        seen = stage.psql(self.scene, counts).stdout.strip()
        self.voice.output(f"dashboard:   {seen}")
        expect(seen == expected, f"The database of the demo holds {seen or 'nothing'} where {expected} belong.")

    def _rollcall(
        self, command: str, *options: str, exits: int, also: str = "", show: str = "", typed: str = ""
    ) -> str:
        """Run a command as a person would, show what it prints; of its log only lines with `also`."""
        self.voice.command(" ".join(["rollcall", command, TARGET, *options]))
        done = self.scene.run(rollcall(command, TARGET, *options), typed=f"{typed}\n" if typed else "")
        if typed:
            self.voice.output(f"Type {typed} to do this; anything else leaves all as it is: {typed}")
        logged = [line for line in done.stderr.splitlines() if also and also in line][:1]
        lines = [line for line in done.stdout.splitlines() if re.search(show, line)] + logged
        self.voice.output("\n".join(lines))
        words = (done.stderr or done.stdout).strip().splitlines()[-1:] or [""]
        otherwise = f"rollcall {command} exited {done.returncode} where {exits} was due: {words[0]}"
        expect(done.returncode == exits, f"{otherwise} (see {FOLDER.name}/logs/demo.log)")
        return "\n".join([*done.stdout.splitlines(), *logged])

    def _show_message(self, message: dict[str, str], lines: int | None = None) -> None:
        self.voice.output(
            "\n".join(f"┃ {line}" for line in [message["title"], *message["message"].splitlines()][:lines])
        )


def _plain(text: str) -> str:
    """The text without its colours and the blanks at the ends of lines."""
    return re.sub(r"\x1b\[[0-9;]*m| +$", "", text, flags=re.MULTILINE)
