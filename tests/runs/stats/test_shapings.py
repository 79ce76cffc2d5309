"""Laws of one agent's rewards compared: numbers at common costs, and who is ahead, if one is."""

import made_results
import pytest

from ccenv.runs.stats.measures import ERROR
from ccenv.runs.stats.shapings import compare_shapings, shaping_sentence
from ccenv.runs.tables.shapings import shapings_table


def cells(reward, *places, spread=0.0, agent="reinforce"):
    """Rows of a reward: (MACs, test error, validation error or None) of each cell.

    Errors of seeds 0, 1 and 2 differ by `spread` beyond the thousandth that all share.
    """
    rows = {}
    for macs, error, validation in places:
        rows[f"{agent} {reward} {macs}"] = [
            made_results.result(agent, seed, macs, error + spread * seed, validation, reward=reward)
            for seed in made_results.SEEDS
        ]
    return rows


PLAIN = cells("plain", (100.0, 0.30, None), (200.0, 0.10, None))
LESS = cells("mine:less", (100.0, 0.26, None), (200.0, 0.06, None))


def shapings_of(*rewards):
    (found,) = compare_shapings({k: v for one in rewards for k, v in one.items()}, False, ERROR)
    return found


def test_errors_and_costs_are_linear_between_two_cells_of_each_seed():
    plain, less = shapings_of(PLAIN, LESS).rewards
    assert plain.errors_at(150.0) == pytest.approx({0: 0.20, 1: 0.201, 2: 0.202})
    assert less.errors_at(175.0) == pytest.approx({0: 0.11, 1: 0.111, 2: 0.112})
    assert plain.macs_at(0.20) == pytest.approx({0: 150.0, 1: 150.5, 2: 151.0})
    assert less.macs_at(0.20) == pytest.approx({0: 130.0, 1: 130.5, 2: 131.0})
    assert less.macs_at(0.01) == less.errors_at(99.0) == {}


def test_a_reward_that_is_ahead_in_every_seed_is_said_to_be_ahead_at_each_cost():
    shapings = shapings_of(PLAIN, LESS)
    # Evenly between 100 and 200 on a logarithmic scale: 107, 141 and 187, of two digits.
    assert shapings.common_costs == (110.0, 140.0, 190.0)
    first, second, difference = shapings.lead(140.0)
    assert (first, second) == ("less", "plain")
    assert [difference.mean, difference.low, difference.high] == pytest.approx([0.04] * 3)
    sentence = shaping_sentence(shapings)
    by = "(4.00 [4.00, 4.00] points less error than plain)"
    assert sentence == (
        f"On mnist, reinforce under plain and less: less is ahead at MACs of 110 {by}, 140 {by} "
        f"and 190 {by}. Differences are paired by seed, with intervals of 95 % for all these "
        "comparisons together."
    )


def test_a_cell_that_a_cheaper_one_beats_on_validation_data_counts_as_reach_alone():
    unlucky = cells("unlucky", (100.0, 0.30, 0.3), (150.0, 0.05, 0.4), (200.0, 0.10, 0.2))
    last = cells("last", (100.0, 0.30, 0.3), (150.0, 0.20, 0.2), (300.0, 0.01, 0.25))
    one, other = shapings_of(unlucky, last).rewards
    assert one.errors_at(150.0)[0] == pytest.approx(0.20)
    assert other.errors_at(250.0)[0] == pytest.approx(0.20)
    assert other.reach == {0: 300.0, 1: 300.0, 2: 300.0}


def test_without_common_costs_the_sentence_says_what_each_reward_costs():
    dear = cells("dear", (300.0, 0.26, None), (400.0, 0.06, None))
    shapings = shapings_of(PLAIN, dear)
    assert shapings.common_costs == ()
    sentence = shaping_sentence(shapings)
    assert "no cost is common to all" in sentence
    assert "plain 100 to 200; dear 300 to 400" in sentence
    # Errors are common still.
    lines = shapings_table(shapings).lines
    assert [line[0].endswith(" % error") for line in lines] == [True, False, True, False]


def test_few_seeds_several_agents_and_single_cells_make_no_verdict():
    two = {label: runs[:2] for label, runs in (PLAIN | LESS).items()}
    sentence = shaping_sentence(shapings_of(two))
    assert sentence.endswith("no verdict, fewer than 3 seeds of all.")
    others = cells("less", (100.0, 0.2, None), (200.0, 0.1, None), agent="rloo")
    assert compare_shapings(PLAIN | others, False, ERROR) == []
    single = dict([next(iter(LESS.items()))])
    assert compare_shapings(PLAIN | single, False, ERROR) == []
    # Baselines, and agents added to the sweep, are no second agent.
    dense = {"dense": made_results.runs("dense", 900.0, 0.05)}
    mine = {"mine": made_results.runs("rloo", 90.0, 0.05, added=True)}
    assert len(shapings_of(PLAIN, LESS, dense, mine).rewards) == 2


def test_agents_crossed_with_rewards_are_pooled_and_compared_from_where_two_are_as_cheap():
    less = cells("less", (150.0, 0.26, None), (300.0, 0.06, None), agent="rloo")
    dear = cells("dear", (200.0, 0.30, None), (400.0, 0.06, None), agent="rloo")
    worse = cells("plain", (120.0, 0.99, None), agent="rloo")
    (found,) = compare_shapings(PLAIN | worse | less | dear, False, ERROR, pool=True)
    # The two cheapest begin at 100 and 150; all three are there at 200.
    assert found.common_costs == (150.0, 170.0, 190.0)
    assert list(found.errors_at(190.0)) == ["plain", "less"]
    assert found.errors_at(150.0)["plain"] == pytest.approx({0: 0.20, 1: 0.201, 2: 0.202})
    sentence = shaping_sentence(found)
    assert sentence.startswith(
        "On mnist, 3 rewards, each with whichever of 2 agents has least error under it: plain is "
        "ahead of all others as cheap at MACs of 150 (6.00 [6.00, 6.00] points less error than less"
    )


def test_the_table_has_a_line_a_reward_at_three_costs_and_two_errors_with_paired_differences():
    table = shapings_table(shapings_of(PLAIN, LESS))
    assert [line[0] for line in table.lines[::2]] == [
        "110 MACs",
        "140 MACs",
        "190 MACs",
        "19 % error",
        "14 % error",
    ]
    assert [line[1] for line in table.lines] == ["plain", "less"] * 5
    assert list(table.columns) == ["at", "reward", "mean", "minus the first"]
    plain, less = table.lines[2:4]
    assert plain[3] == ""
    assert less[2].startswith("18.10 [")
    assert less[3] == "-4.00 (equal in 3 seeds)"


def test_how_soon_a_reward_is_learned_is_the_inputs_to_a_share_of_its_own_rise():
    def learning(rows, *returns):
        """The rows with returns on validation data after 0, 100 and 200 inputs."""
        curve = [{"images_seen": 100 * n, "mean_return": one} for n, one in enumerate(returns)]
        return {label: [run | {"curve": curve} for run in runs] for label, runs in rows.items()}

    # From -2 to 0 the goal is -0.2, from 10 to 30 it is 28; the first passes it early.
    slow, soon = learning(PLAIN, -2.0, -1.0, 0.0), learning(LESS, 10.0, 30.0, 30.0)
    shapings = shapings_of(slow, soon)
    assert [one.soon for one in shapings.rewards] == [
        pytest.approx(dict.fromkeys(made_results.SEEDS, inputs)) for inputs in (180.0, 90.0)
    ]
    assert shapings_table(shapings).lines[-1][3].startswith("-0.1 ")
    # What does not rise, or was recorded without returns, says nothing of it.
    falls = learning(LESS, 1.0, 2.0, 0.5)
    assert shapings_of(slow, falls).rewards[1].soon == {}
    assert not any("rise" in line[0] for line in shapings_table(shapings_of(slow, falls)).lines)


def test_a_lead_holds_for_all_comparisons_together():
    # Differences -0.01, -0.02 and -0.03: by itself -0.02 ± 0.0248, and so none; but -0.04 less
    # each is ahead by itself and for three costs: ±0.0442 against -0.06.
    close = cells("close", (100.0, 0.29, None), (200.0, 0.09, None), spread=-0.01)
    clear = cells("clear", (100.0, 0.25, None), (200.0, 0.05, None), spread=-0.01)
    assert shapings_of(PLAIN, close).lead(150.0) is None
    _, _, difference = shapings_of(PLAIN, clear).lead(150.0)
    # Student's t of two degrees of freedom at 1 - 0.05 / 6 is 7.649.
    half = 7.649 * 0.01 / 3**0.5
    assert difference.mean == pytest.approx(0.06)
    assert [difference.low, difference.high] == pytest.approx([0.06 - half, 0.06 + half], abs=1e-4)
    sentence = shaping_sentence(shapings_of(PLAIN, close))
    assert ": none is ahead at MACs of 110, 140 and 190. " in sentence
    # Ahead of one, but not of the other: of all others none.
    assert shapings_of(PLAIN, LESS, close).lead(150.0) is None
    # Of 95 % for itself alone, but not together: 0.03 ± 0.0248 and ± 0.0442.
    chance = cells("chance", (100.0, 0.28, None), (200.0, 0.08, None), spread=-0.01)
    assert shapings_of(PLAIN, chance).lead(150.0) is None
