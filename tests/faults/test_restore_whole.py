"""A restore of each kind from beginning to end, through the command line."""

from __future__ import annotations

import pytest

from tests.faults.restore_scene import Scenes, Situation


@pytest.mark.parametrize(
    ("situation", "version"),
    [
        ("restore", 17),
        # The demo, which is told in the quick tests, reattaches too.
        pytest.param("reattach", 15, marks=pytest.mark.slow),
        pytest.param("both", 18, marks=pytest.mark.slow),
    ],
)
def test_the_right_data_ends_under_the_pinned_name_and_nothing_is_lost(
    scenes: Scenes, situation: Situation, version: int
) -> None:
    with scenes(situation, version) as made:
        report = made.restore().went_well().document
        assert report["outcome"] == "done"
        assert report["plan"]["situation"] == situation
        assert report["safety_backup"]
        assert report["counts"]["knowledge_os"] == {"public.experts": 85, "public.knowledge_nodes": 2000}
        assert made.is_consistent() == "new"
        made.other_copy("new")
        proven = [each["id"] for each in made.victim.listed()["backups"] if each["proven_at"]]
        assert proven == ([] if situation == "reattach" else [report["plan"]["source"]["name"]])
        verified = made.victim.start("verify", made.victim.name, "--json").ended().went_well().document
        assert verified["verdict"] == "healthy", verified["findings"]
        again = made.victim.start("restore-volume", made.victim.name, "--json", "--yes").ended().went_well().document
        assert (again["outcome"], again["plan"]["situation"]) == ("planned", "nothing")
