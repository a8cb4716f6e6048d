"""Files in PGDATA that are not PostgreSQL's own, copied beside a rebuilt cluster and brought up to date later."""

from collections.abc import Iterator

import pytest

from tasks.containers.scratch_place import Place
from tasks.containers.taking_over import take_over
from tests.bed import images
from tests.bed.labels import Bed
from tests.bed.shell import shell

IMAGE = images.tag(15)
PLACE = Place(destination="/data", pgdata="/data/db")
ODD = ("x\nbase", "ends\n", "-rf", "a b", "base global", "\u2028line", "..two", "x*", "$(id)", "é".encode("latin-1"))

# What lies in the copy of the first run, whatever the order of folders: names, kinds, rights, owners, bytes.
LISTED = "find . ! -type d -exec sha256sum {} + | sort; find . -exec stat -c '%A %u:%g %N' {} + | sort"


class Volumes:
    """A volume with a cluster's files and others, and one with a rebuilt cluster's."""

    def __init__(self, bed: Bed) -> None:
        self.bed, self.source, self.copy = bed, bed.name("source"), bed.name("copy")
        for each in (self.source, self.copy):
            bed.client.volumes.create(each, labels=bed.labels)
            self.run("mkdir -p db/base && echo rebuilt > db/base/1 && echo rebuilt > db/postgresql.conf", each)

    def run(self, script: str, volume: str) -> str:
        """What a script prints in a volume."""
        return shell(self.bed.client, IMAGE, f"set -e; cd /it; {script}", labels=self.bed.labels, it=volume)

    def take_over(self, again: list[str] | None = None) -> list[str]:
        image = self.bed.client.images.get(IMAGE).id
        return take_over(self.bed.client, source=self.source, volume=self.copy, place=PLACE, image_id=str(image),
                         owner=self.bed.name("owner"), again=again or [])  # fmt: skip

    def is_whole(self) -> bool:
        """Whether the copy holds exactly what the source does, and its cluster is as it was rebuilt."""
        assert self.run("cat db/base/1 db/postgresql.conf", self.copy) == "rebuilt\nrebuilt\n"
        return self.run(LISTED, self.copy) == self.run(LISTED, self.source)


@pytest.fixture
def volumes(bed: Bed) -> Iterator[Volumes]:
    made = Volumes(bed)
    yield made
    for each in (made.source, made.copy):
        bed.remove_volume(each)


def octal(name: str | bytes) -> str:
    """A name as `printf %b` reads it."""
    return "".join(f"\\0{byte:03o}" for byte in (name.encode() if isinstance(name, str) else name))


def test_names_may_hold_anything_and_nothing_of_the_cluster_goes(volumes: Volumes) -> None:
    for each in ODD:
        volumes.run(f"name=$(printf '%b.' '{octal(each)}'); echo key > \"db/${{name%.}}\"", volumes.source)
    expected = sorted((each.encode() if isinstance(each, str) else each).hex() for each in ODD)

    taken = volumes.take_over()
    assert sorted(taken) == expected
    assert volumes.is_whole()

    volumes.run("echo another key > 'db/a b'; rm ./db/-rf", volumes.source)
    assert sorted(volumes.take_over(taken)) == sorted(set(expected) - {b"-rf".hex()})
    assert volumes.is_whole()


def test_a_second_run_copies_what_changed_and_only_that(volumes: Volumes) -> None:
    volumes.run(
        "cd db; mkdir -p d/sub; for each in big d/big d/gone d/changed d/older d/kind; do echo $each > $each; done; "
        "ln -s ../postgresql.conf d/link; echo a > rights; chown -R 999:999 .", volumes.source
    )  # fmt: skip
    volumes.run("chown -R 999:999 db", volumes.copy)
    taken = volumes.take_over()
    inodes = "stat -c '%i %Z' db/big db/d/big"
    before = volumes.run(inodes, volumes.copy)
    volumes.run(
        "cd db; rm d/gone d/link d/kind; echo new > d/changed; echo own > d/link; mkdir d/kind; echo new > d/sub/new",
        volumes.source,
    )

    again = volumes.take_over(taken)
    assert volumes.is_whole()
    assert volumes.run(inodes, volumes.copy) == before

    volumes.run("cd db; echo other > d/older; touch -d 2001-01-01 d/older; chmod 600 rights", volumes.source)
    volumes.take_over(again)
    assert volumes.is_whole()


def test_what_the_rebuilt_cluster_has_of_its_own_stays(volumes: Volumes) -> None:
    volumes.run("echo theirs > db/server.key", volumes.source)
    volumes.run("echo its own > db/server.key", volumes.copy)
    assert volumes.take_over() == []
    assert volumes.take_over([]) == []
    assert volumes.run("cat db/server.key", volumes.copy) == "its own\n"
