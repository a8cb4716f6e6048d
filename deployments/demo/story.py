"""The story: what happened on 1 February, with Rollcall there. Each step shows real output and is held to be true."""

from __future__ import annotations

import re

from deployments.demo import stage
from deployments.demo.scene import CONTAINER, FOLDER, RIGHT_VOLUME, TARGET, WRONG_VOLUME, Scene, rollcall, wait_until
from deployments.demo.servers import Phone, Servers
from deployments.demo.voice import Voice, expect

CRITICAL = 2
RUNS_TRACKED = 5


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
        self._the_way_back()
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

    def _the_way_back(self) -> None:
        self.voice.step("The way back, for now by hand: the other project down, this one up, and a check")
        told = len(self.phone.messages)
        self._compose("knowledge_os", "down")
        self._up("atra", quiet=True)
        said = self._rollcall("verify", exits=0, show=r"HEALTHY|container|experts|knowledge_nodes")
        expect("HEALTHY" in said, "Back on the right volume the database was not called healthy.")
        wait_until(lambda: len(self.phone.messages) > told, 10, "The news that all is well again")
        self._show_message(self.phone.messages[-1], lines=2)

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

    def _rollcall(self, command: str, *, exits: int, also: str = "", show: str = "") -> str:
        """Run a command as a person would, show what it prints; of its log only lines with `also`."""
        self.voice.command(f"rollcall {command} {TARGET}")
        done = self.scene.run(rollcall(command, TARGET))
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
