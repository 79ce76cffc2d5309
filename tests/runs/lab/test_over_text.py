"""Laws of the study of decisions over time on real text."""

import argparse
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from ccenv.runs.lab import over_text, over_text_experts, over_text_rules, over_text_tuning, tables
from ccenv.runs.lab.experiment import run_experiment
from ccenv.runs.store.recorded import read_table

RESULTS = Path(__file__).parents[3] / "runs/results"
SIZES = {"width": 4, "embedding_size": 3}
SMALL = over_text.Text(length=3, network="skip_gru", sizes=SIZES, updates=True)
LAYERS = {"depth": 1, "width": 4, "num_heads": 1, "ffn_width": 3, "num_experts": 1}
OTHERS = {"layers": over_text.Text(3, "lm", LAYERS | {"gates": "layers"}), "updates": SMALL}
ROUTED = {"width": 4, "num_heads": 1, "num_experts": 3, "ffn_width": 3}
EXPERTS = over_text.Text(4, over_text.TEXTS["experts, 2 of 16"].network, ROUTED, fast_memory=2)


@pytest.fixture
def cheap(monkeypatch):
    """Weights as they are drawn, and few sequences."""
    weighted = over_text.Text.weighted
    monkeypatch.setattr(
        over_text.Text, "weighted", lambda *given: weighted(*given) | {"weights": "cotrain"}
    )
    few = {"SEARCHED": 16, "COMMON": 4, "NUM_THRESHOLDS": 3, "FITTED": 32}
    few |= {"ROWS": 8, "COPIES": 4, "FEW_ROWS": 4}
    for name, value in few.items():
        for module in (over_text, over_text_rules):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("name", OTHERS)
def test_no_policy_and_no_plan_is_above_the_bound_which_is_the_best_of_all_plays(cheap, name):
    simulator = OTHERS[name].simulator(0.5)
    likely, spent = over_text.bound(simulator, 2)
    weight = simulator.reward.rule.arguments["cost_weight"]
    best = (likely - weight * spent).max(dim=1).values
    plans = itertools.product((False, True), repeat=simulator.num_steps)
    played = [
        over_text.play(simulator, lambda seen, p=plan: p[seen.step], torch.arange(2))[0]
        for plan in plans
    ]
    torch.testing.assert_close(torch.stack(played).max(dim=0).values, best)
    known = over_text.myopic(simulator, torch.arange(2))[0]
    assert (known <= best + 1e-5).all()


def test_the_best_choices_of_experts_are_the_best_of_all_that_there_are(cheap):
    seen, price = over_text_experts.try_experts(EXPERTS.simulator(0.5), "train", 3), 0.05
    plans = itertools.product(range(3), repeat=EXPERTS.length)

    def played(plan):
        each = iter(plan)
        likely, missed = over_text_experts.play(seen, lambda *_: torch.full((3,), next(each)), 2)
        return likely - price * missed

    every = torch.stack([played(plan) for plan in plans]).max(dim=0).values
    (likely, missed), now = (
        find(seen, 2, price) for find in (over_text_experts.best_ahead, over_text_experts.best_now)
    )
    torch.testing.assert_close(likely - price * missed, every)
    assert (now[0] - price * now[1] <= every + 1e-9).all()


def test_the_study_runs_in_miniature_and_is_recorded(cheap, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(over_text, "TEXTS", {"updates": SMALL, "experts": EXPERTS})
    words = ["--prices", "0.2", "--rollouts", "1", "--seeds", "2", "--bound", "3", "--record"]
    words += ["--results-dir", str(tmp_path), "--report-dir", str(tmp_path)]
    assert run_experiment(over_text.OVER_TEXT, "lab", words) == 0
    rows = tables.recorded.read_table(tmp_path / "over-text.json")["rows"]
    for name, bound in (("updates", "every mask"), ("experts", "best choices")):
        gains = {row["decides"]: row["gains"] for row in rows if row["text"] == name}
        learned = {
            decides
            for decides, algorithm in over_text.LEARNED.items()
            if algorithm not in over_text.RELAXED or name == "updates"
        }
        assert {decides for decides in gains if len(gains[decides]) == 2} == learned
        assert min(gains[f"{bound}, future known (3 sequences)"]) >= -1e-5
        assert [0.0] in gains.values()
    shown = capsys.readouterr().out
    assert "PPO, credit over time" in shown
    assert "always" not in shown, "a rule that is worse than the best one"


def test_weights_that_learn_along_start_at_the_frozen_ones_with_as_many_sequences(cheap):
    found = [over_text.cotrained(SMALL, 0.5, 2, seed=3, copies=copies) for copies in (1, 4)]
    before = SMALL.simulator(0.5).network.state_dict()
    for simulator in found:
        now = simulator.network.state_dict()
        assert all(torch.equal(value, before[name]) for name, value in now.items())
        assert simulator.num_images // simulator.group_size == over_text.ROWS


def test_under_learning_weights_a_policy_is_compared_with_the_best_rule_of_its_seed(
    cheap, monkeypatch
):
    monkeypatch.setitem(over_text.TEXTS, "updates", SMALL)
    learners = ["rloo, credit over time", "gumbel, through the network"]
    options = argparse.Namespace(rollouts=2, seeds=2, prices=[0.5, 2.0], learners=learners)
    rows = list(over_text.cotrained_rows("updates", options))
    assert [(row["price"], row["decides"]) for row in rows] == [
        (price, decides) for price in (0.5, 2.0) for decides in ("best rule", *learners)
    ]
    for rule, policy in (
        (rows[3 * price], rows[3 * price + n]) for price in (0, 1) for n in (1, 2)
    ):
        gain = sum(policy["gains"]) / 2
        assert gain == pytest.approx(rule["objective"] - policy["objective"], abs=1e-6)
        assert len(policy["gains"]) == 2


def test_what_has_learned_keeps_its_row_where_a_better_rule_is_found():
    told = {"text": "updates", "price": 0.2, "spent": 0.5}
    policy = {"decides": "rloo, credit over time", "objective": 2.0, "gains": [0.3, 0.5]}
    shown = []
    for level in (2.4, 2.1):
        rule = {"decides": "always", "objective": level, "gains": [0.0]}
        shown.append(over_text.table([told | rule, told | policy]).splitlines()[-1].split("|"))
    gains = [float(row[6]) for row in shown]
    assert gains == pytest.approx([0.4, 0.1])
    widths = [np.ptp([float(end) for end in row[7].strip(" []").split(",")]) for row in shown]
    assert widths[0] == pytest.approx(widths[1], abs=2e-3)


def test_a_rule_counts_the_positions_since_its_gate_was_kept(cheap):
    simulator, counts = over_text.Text(6, "skip_gru", SIZES).simulator(0.5), []
    plan = [False, True, False, False, True, False]

    def choose(seen):
        counts.append(seen.since.tolist())
        return plan[seen.step]

    over_text_rules.play(simulator, choose, torch.arange(2))
    assert counts == [[count] * 2 for count in (3, 3, 0, 1, 2, 0)]


def test_the_fit_keeps_what_pays_by_what_a_policy_sees(cheap, monkeypatch):
    simulator = SMALL.simulator(0.5)
    free = over_text_rules.costs_of(simulator, over_text_rules.same(False))
    for cost_weight, updates in ((0.0, True), (1e6, False)):
        monkeypatch.setitem(simulator.reward.rule.arguments, "cost_weight", cost_weight)
        choose, macs = over_text_rules.fitted(simulator, over_text_rules.same(True))
        assert macs == sum(simulator.observe.lengths[:1])
        cost = over_text_rules.costs_of(simulator, choose)
        assert cost > free if updates else cost == pytest.approx(free)


def test_the_recorded_tries_are_as_many_for_each_and_the_best_is_what_is_taken():
    rows = read_table(RESULTS / "over-text-tuning.json")["rows"]
    for algorithm, (name, _) in over_text_tuning.OTHERS.items():
        tries = [row for row in rows if row["agent"] == algorithm.__name__]
        assert len(tries) == len(rows) / len(over_text.RELAXED)
        best, taken = min(tries, key=lambda row: row["objective"]), over_text.CHOSEN[algorithm]
        assert best["learning_rate"] == taken["learning_rate"]
        assert best["other"] == f"{name}={taken[name]}"


def test_tries_are_judged_on_validation_sequences(cheap, monkeypatch):
    monkeypatch.setitem(over_text.TEXTS, "updates", SMALL)
    rows = list(over_text_tuning.measured(argparse.Namespace(price=0.5, rollouts=1)))
    assert len(rows) == 8
    assert all(row["objective"] > 0 for row in rows)


def test_a_rule_knows_the_surprise_of_the_symbol_that_it_reads(cheap):
    simulator, found = SMALL.simulator(0.5), []

    def watch(seen):
        found.append(seen)
        return True

    returns, costs = over_text.play(simulator, watch, torch.arange(4))
    paid = returns + simulator.reward.rule.arguments["cost_weight"] * costs * 3
    last = simulator.data.batch(torch.arange(4) * 3 + 2)[1]
    assert [seen.place for seen in found] == [0, 1, 2]
    # Labels are the next symbols, so that all but the last answer is a surprise later.
    answered = -sum(seen.surprise for seen in found[1:])
    judged = simulator.on_split("train", 4)
    judged.begin(torch.arange(4))
    steps = [judged.step(torch.ones(4, 1, dtype=torch.bool)) for _ in range(3)]
    assert torch.equal(steps[-1].outcome.labels, last)
    torch.testing.assert_close(paid, answered + steps[-1].outcome.log_likelihood)


def test_a_rule_on_what_experts_are_worth_earns_what_the_environment_pays(cheap):
    price, rows, choose = 0.3, torch.arange(4), over_text_experts.with_bonus(0.1)
    seen = over_text_experts.try_experts(EXPERTS.simulator(price), "train", 4)
    likely, missed = over_text_experts.play(seen, choose, EXPERTS.fast_memory)
    simulator = EXPERTS.simulator(price, 4)
    observation, paid = simulator.begin(rows), 0.0
    for position in range(EXPERTS.length):
        is_there, scores = observation[:, :3] > 0, observation[:, 3:6]
        assert torch.equal(scores, seen.scores[:, position])
        chosen = choose(scores, is_there, seen.symbols[:, position])
        step = simulator.step(torch.nn.functional.one_hot(chosen, 3).bool())
        observation, paid = step.observation, paid + step.reward.double()
    assert missed.min() >= 1
    torch.testing.assert_close(paid, likely - price * missed, atol=1e-5, rtol=0.0)
