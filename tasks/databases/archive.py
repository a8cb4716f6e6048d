"""A pg_dump archive restored in degrees: which of its entries failed, and how each is tried again. Pure.

Source: PostgreSQL documentation, pg_restore; its messages are those of pg_backup_archiver.c (warn_or_exit_horribly,
ExecuteSqlCommand), in English.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from psycopg.conninfo import make_conninfo

from tasks.databases.cluster_state import literal
from tasks.databases.load import quoted

PRE_DATA, DATA, POST_DATA = "pre-data", "data", "post-data"
ARCHIVE = "/archives/archive"
CHOSEN = "/archives/chosen"

# Entries after which nothing may run that they would see: event triggers see every statement of a restore.
LAST = ("EVENT TRIGGER",)


class Entry(NamedTuple):
    """One line of an archive's table of contents: its number, and `KIND schema name owner`."""

    number: int
    text: str


def entries(listing: str) -> list[Entry]:
    """The entries in what `pg_restore --list` prints."""
    found = re.findall(r"^(\d+); \d+ \d+ (.*)$", listing, re.MULTILINE)
    return [Entry(int(number), text) for number, text in found]


def is_last(entry: Entry) -> bool:
    """Whether it is an event trigger, or belongs to one."""
    return entry.text.startswith(LAST) or bool(re.match(r"\w+ (- )?EVENT TRIGGER ", entry.text))


def is_first(entry: Entry) -> bool:
    """Whether it is the database, what belongs to that, or a schema: all that an extension needs."""
    return is_of_database(entry) or entry.text.startswith(("DATABASE - ", "SCHEMA - "))


def is_of_database(entry: Entry) -> bool:
    """Whether it is of the database as a whole (settings, comment, grants): pg_restore makes it with --create alone."""
    return bool(re.match(r"(DATABASE PROPERTIES|\w[\w ]* - DATABASE) ", entry.text))


def whole_command(database: str, user: str, jobs: int) -> list[str]:
    """pg_restore of one database with all its properties; it goes on after an error.

    initdb has made `postgres` and `template1`: they are dropped and made again like any other, from a connection to
    another one (PostgreSQL documentation, pg_restore, --create with --clean).
    """
    return [
        "pg_restore", "--create", "--clean", "--if-exists", f"--jobs={jobs}", "--no-password",
        f"--username={user}", f"--dbname={_through(database)}", ARCHIVE,
    ]  # fmt: skip


def _through(database: str) -> str:
    return "template1" if database == "postgres" else "postgres"


def section_command(database: str, user: str, section: str, jobs: int = 1) -> list[str]:
    """pg_restore of one section; pre-data makes the database again. With one job it says which entry failed."""
    if section == PRE_DATA:
        return [*whole_command(database, user, 1)[:-1], "--verbose", f"--section={section}", ARCHIVE]
    how = ["--verbose"] if jobs == 1 else [f"--jobs={jobs}"]
    return ["pg_restore", *how, f"--section={section}", *into(database, user), ARCHIVE]


def first_command(database: str, user: str) -> list[str]:
    """pg_restore of the entries in the file CHOSEN, among them the database itself; it says which entry failed."""
    return [*whole_command(database, user, 1)[:-1], "--verbose", f"--use-list={CHOSEN}", ARCHIVE]


def chosen_command(database: str, user: str, jobs: int = 1) -> list[str]:
    """pg_restore of the entries in the file CHOSEN. With one job it says which entry failed."""
    how = "--verbose" if jobs == 1 else f"--jobs={jobs}"
    return ["pg_restore", how, f"--use-list={CHOSEN}", *into(database, user), ARCHIVE]


def properties_command(database: str, user: str) -> list[str]:
    """The chosen entries of the database as a whole, each statement for itself; it prints the errors."""
    script = 'pg_restore --create --use-list="$1" --file=- "$2" | { shift 2; exec "$@" 2>&1; }'
    through = ["psql", "--no-psqlrc", "--quiet", "--set=VERBOSITY=terse", "--file=-", *into(_through(database), user)]
    return ["sh", "-c", script, "sh", CHOSEN, ARCHIVE, *through]


def list_command(section: str = "") -> list[str]:
    """What prints the entries of a section, or all; those of the database itself, which are of every section and listed
    with --create alone, with the first one and with all."""
    whole = ["--create"] if section in ("", PRE_DATA) else []
    return ["pg_restore", "--list", *whole, *([f"--section={section}"] if section else []), ARCHIVE]


def script_command(section: str) -> list[str]:
    """What prints a section as SQL, with every entry's number above it."""
    return ["pg_restore", "--verbose", f"--section={section}", "--file=-", ARCHIVE]


def into(database: str, user: str) -> list[str]:
    """Where a program connects to."""
    # A name that has `=` in it would be read as a connection string.
    return ["--no-password", f"--username={user}", f"--dbname={make_conninfo(dbname=database)}"]


# pg_restore's own script empties the search path; functions whose bodies name things without a schema need it.
# $1 a script to come before, $2 the entries, $3 the archive, $4 an edit of their SQL, $5 a script to come after.
BY_SCRIPT = r"""
{
    printf %s "$1"
    { pg_restore --use-list="$2" --file=- "$3" || echo 'pg_restore failed;'; } |
    sed "1,/^SELECT pg_catalog.set_config('search_path', '', false);\$/{/^SELECT pg_catalog.set_config('search_/d;}" |
    sed "$4"
    printf %s "$5"
} | { shift 5; exec "$@"; }
"""
NOT_VALID = r"s/^\(    ADD CONSTRAINT .*\);$/\1 NOT VALID;/"


def psql(database: str, user: str) -> list[str]:
    """psql that reads a script of one transaction and stops at its first error."""
    return [
        "psql", "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse",
        "--file=-", *into(database, user),
    ]  # fmt: skip


def by_script_command(database: str, user: str, *, before: str = "", edit: str = "", after: str = "") -> list[str]:
    """The chosen entries by psql, in the search path of its session, with SQL before and after them in the same
    transaction. edit: a sed script over their SQL."""
    return ["sh", "-c", BY_SCRIPT, "sh", before, CHOSEN, ARCHIVE, edit, after, *psql(database, user)]


def chosen(these: Iterable[Entry]) -> str:
    """The text of the file CHOSEN."""
    return "".join(f"{entry.number}; 0 0 -\n" for entry in these)


def title(entry: Entry) -> str:
    """An entry in a sentence: its kind, schema and name, without its owner."""
    return entry.text.rpartition(" ")[0]


KINDS = {
    "constraint": ("CONSTRAINT", "FK CONSTRAINT", "CHECK CONSTRAINT"),
    "materialized view": ("MATERIALIZED VIEW", "MATERIALIZED VIEW DATA"),
    "foreign server": ("SERVER",),
}
WITHOUT_SCHEMA = ("extension", "schema", "publication", "event trigger", "foreign server")


def object_of(entry: Entry, objects: Iterable[str]) -> str:
    """Which of a tally's `objects` an entry is of; else how to call it."""
    if entry.number == 0:
        return entry.text
    fitting = [name for name in objects if any(entry.text.startswith(each) for each in _beginnings(name))]
    return max(fitting, key=len, default=title(entry).replace(" - ", " "))


def _beginnings(name: str) -> list[str]:
    """How the entry of an object of a tally may begin."""
    kind = re.match(r"(?:(?:foreign|materialized|event) )?[a-z]+", name)
    if not kind:
        return []
    called, _, arguments = name[kind.end() + 1 :].partition("(")
    parts = [re.sub(r'^"|"$', "", part).replace('""', '"') for part in re.findall(r'"(?:[^"]|"")*"|[^."]+', called)]
    parts = ["-", *parts] if kind[0] in WITHOUT_SCHEMA else parts
    end = "(" if arguments else " "
    return [f"{each} {' '.join(parts)}{end}" for each in KINDS.get(kind[0], (kind[0].upper(),))]


class Paths(NamedTuple):
    """The search paths of a database. own: of a session of the superuser; roles: of others, by name; owners: every
    role; schemas: every schema."""

    own: str
    roles: Mapping[str, str]
    owners: Sequence[str]
    schemas: Sequence[str]


PATHS = r"""
    SELECT json_build_object(
        'own', current_setting('search_path'),
        'roles', (SELECT coalesce(json_object_agg(rolname, substr(one, 13) ORDER BY setdatabase), '{}')
                  FROM pg_db_role_setting JOIN pg_roles AS r ON r.oid = setrole, unnest(setconfig) AS one
                  WHERE one LIKE 'search\_path=%'
                    AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))),
        'owners', (SELECT json_agg(rolname ORDER BY length(rolname) DESC) FROM pg_roles),
        'schemas', (SELECT json_agg(nspname ORDER BY nspname <> 'public', nspname) FROM pg_namespace
                    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'))
"""


def search_paths(entry: Entry, known: Paths) -> list[str]:
    """In which to try an entry that fails with an empty one: its owner's, the database's own, other roles', and as the
    last one its own schema before all others."""
    owner = next((name for name in known.owners if entry.text.endswith(f" {name}")), "")
    others = [path for role, path in known.roles.items() if role != owner]
    paths = [known.roles.get(owner, ""), known.own, *others]
    if owner:
        paths = [path.replace('"$user"', quoted(owner)) for path in paths]
    first = sorted(known.schemas, key=lambda name: not re.match(rf"[A-Z ]+ {re.escape(name)} ", entry.text))
    paths.append(", ".join(quoted(name) for name in first))
    return [path for path in dict.fromkeys(paths) if path and path != '""']


# A definition is printed and read by the same rule, whatever the old server or its archive set.
STANDARD_STRINGS = "SET standard_conforming_strings = on;\n"

# What keeps rows out of the table of an entry, as four columns: where it is, its name, its definition, its comment.
HINDERING = r"""
    WITH RECURSIVE loaded AS (
        SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE 'TABLE DATA ' || nspname || ' ' || relname || ' ' || pg_get_userbyid(relowner) = %(entry)s
    ), above AS (
        SELECT oid FROM loaded
        UNION SELECT inhparent FROM pg_inherits JOIN above ON inhrelid = above.oid
    )
    SELECT 'TABLE ' || conrelid::regclass, quote_ident(conname), pg_get_constraintdef(k.oid), obj_description(k.oid)
    FROM pg_constraint AS k JOIN above ON conrelid = above.oid
    WHERE contype IN ('c', 'f') AND coninhcount = 0 AND conparentid = 0
    UNION
    SELECT 'DOMAIN ' || contypid::regtype, quote_ident(conname), pg_get_constraintdef(k.oid), obj_description(k.oid)
    FROM pg_constraint AS k JOIN pg_attribute ON atttypid = contypid JOIN loaded ON attrelid = loaded.oid
    WHERE contype = 'c' AND contypid <> 0
"""


class Hindrance(NamedTuple):
    """A constraint of a table, or of a domain that it uses; place: `TABLE public.t`."""

    place: str
    name: str
    definition: str
    comment: str | None

    @property
    def object(self) -> str:
        """As a tally has it: there, a domain's constraints are part of its definition."""
        kind, _, name = self.place.partition(" ")
        return f"domain {name}" if kind == "DOMAIN" else f"constraint {name}.{self.name}"

    def dropped(self) -> str:
        """The statement that drops it."""
        return f"ALTER {self.place} DROP CONSTRAINT {self.name};\n"

    def made_again(self) -> str:
        """The statements that make it again for new rows alone, as it was but for that."""
        suffix = "" if self.definition.endswith(" NOT VALID") else " NOT VALID"
        made = f"ALTER {self.place} ADD CONSTRAINT {self.name} {self.definition}{suffix};\n"
        if self.comment is None:
            return made
        on = self.place.removeprefix("TABLE ")
        return f"{made}COMMENT ON CONSTRAINT {self.name} ON {on} IS {literal(self.comment)};\n"

    def validated(self) -> str:
        """The statement that checks it for the rows that are there."""
        return f"ALTER {self.place} VALIDATE CONSTRAINT {self.name};\n"


FOR_NEW_ROWS = "it is made for new rows alone (NOT VALID)"

# Without these, nothing of an event trigger's doing hinders or changes what is made again; 17 can switch them off.
DROP_EVENT_TRIGGERS = """
DO $$ DECLARE trigger name; BEGIN
    FOR trigger IN SELECT evtname FROM pg_event_trigger AS t WHERE NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_event_trigger'::regclass AND objid = t.oid AND deptype = 'e')
    LOOP EXECUTE format('DROP EVENT TRIGGER %I', trigger); END LOOP;
END $$;
"""
