"""The clocks that doctor compares."""

from datetime import UTC, datetime

import pytest

from tasks.doctor.clocks import http_date

DATE = "Tue, 01 Dec 2026 17:25:28 GMT"
EXPECTED = datetime(2026, 12, 1, 17, 25, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DATE, EXPECTED),
        (f"Mon, 30 Nov 2026 00:00:00 GMT, {DATE}", EXPECTED),
        ("", None),
        ("yesterday", None),
        ("Tue, 01 Dec 2026", None),
        ("Tue, 41 Foo 2026 17:25:28 GMT", None),
    ],
)
def test_a_date_header_is_read_also_where_there_are_two_or_none(text: str, expected: datetime | None) -> None:
    assert http_date(text) == expected
