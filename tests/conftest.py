"""Makes the bed's fixtures known to every test, and says which tests may run side by side."""

import pytest

pytest_plugins = ["tests.bed.fixtures"]

# The demo uses names of its own that it cannot change, and refuses to play where others have them; these do.
ONE_AFTER_ANOTHER = {"tests/e2e/test_demo.py": "demo", "tests/integration/test_census.py": "demo"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file share what its fixtures started: they stay together, in one process, in their order."""
    for item in items:
        file = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(ONE_AFTER_ANOTHER.get(file, file)))
