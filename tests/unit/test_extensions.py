"""The version of an extension that a restore makes."""

from __future__ import annotations

import subprocess

from tasks.databases.extensions import chosen, edit, versions
from tasks.models import Tally

AVAILABLE = [
    ("pg_trgm", "1.4", "1.6"),
    ("pg_trgm", "1.6", "1.6"),
    ("cube", "1.5", "1.5"),
    ('"uuid-ossp"', "1.1", "1.2"),
]


def test_a_version_is_made_where_it_is_there_and_not_the_default_one() -> None:
    tally = Tally(
        counts={},
        definitions={
            "extension pg_trgm": '["1.4", "public"]',
            "extension cube": '["1.5", "public"]',
            'extension "uuid-ossp"': '["1.0", "public"]',
            "view public.extension": '["SELECT 1", null]',
        },
    )
    assert versions(tally) == {"pg_trgm": "1.4", "cube": "1.5", '"uuid-ossp"': "1.0"}
    assert chosen(versions(tally), AVAILABLE) == {"pg_trgm": "1.4"}


def test_a_version_is_added_to_what_a_dump_says_and_to_nothing_else() -> None:
    script = (
        "CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;\n"
        'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA "Odd & Name";\n'
        "CREATE EXTENSION IF NOT EXISTS pg_trgmx WITH SCHEMA public;\n"
    )
    sed = edit({"pg_trgm": "1.4", '"uuid-ossp"': "1.1/x&y'z"})
    made = subprocess.run(["sed", sed], input=script, capture_output=True, text=True, check=True).stdout
    assert made.splitlines() == [
        "CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public VERSION '1.4';",
        "CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA \"Odd & Name\" VERSION '1.1/x&y''z';",
        "CREATE EXTENSION IF NOT EXISTS pg_trgmx WITH SCHEMA public;",
    ]
