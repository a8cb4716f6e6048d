"""The simulation behind docs/judging.md, in small: no total loss passes, now or in two weeks."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import judging


@pytest.fixture(scope="module")
def rates() -> judging.Rates:
    return judging.measure(judging.make_world(300))


def test_every_total_loss_is_noticed_at_once_and_never_forgotten(rates: judging.Rates) -> None:
    for loss in judging.TOTAL:
        assert rates.noticed[loss]["rollcall"] == 1.0
        assert rates.still[loss]["rollcall"] == 1.0


def test_the_common_rules_forget_what_rollcall_remembers(rates: judging.Rates) -> None:
    for loss in judging.TOTAL:
        assert rates.still[loss]["ten_percent"] < 0.1
        assert rates.still[loss]["three_sigma"] < 0.1


def test_false_alarms_stay_rare_on_tables_that_do_not_churn(rates: judging.Rates) -> None:
    assert rates.false_alarms_steady["rollcall"] < 0.005


def test_the_world_is_the_same_every_time() -> None:
    assert np.array_equal(judging.make_world(50).rows, judging.make_world(50).rows)


def test_the_figures_replace_those_in_the_page_and_nothing_else(rates: judging.Rates, tmp_path: Path) -> None:
    page = tmp_path / "judging.md"
    page.write_text(f"before\n{judging.BEGIN}\nold\n{judging.END}\nafter\n")
    judging.write(judging.table_of(rates, 300), page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "100.0 %" in text


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "judging.md"
    page.write_text("mine")
    with pytest.raises(ValueError, match="lost its markers"):
        judging.write("figures", page)
    assert page.read_text() == "mine"
