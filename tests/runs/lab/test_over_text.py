"""Laws of the study of decisions over time on real text."""

import itertools

import pytest
import torch

from ccenv.runs.lab import over_text, tables
from ccenv.runs.lab.experiment import run_experiment

SMALL = over_text.Text(
    length=3, network="skip_gru", sizes={"width": 4, "embedding_size": 3}, about="small"
)
LAYERS = {"depth": 1, "width": 4, "num_heads": 1, "ffn_width": 3, "num_experts": 1}
OTHERS = {
    "layers": over_text.Text(3, "lm", LAYERS | {"gates": "layers"}, "small"),
    "updates": SMALL,
}


@pytest.fixture
def cheap(monkeypatch):
    """Weights as they are drawn, and few sequences."""
    settings = over_text.Text.settings
    monkeypatch.setattr(
        over_text.Text, "settings", lambda *given: settings(*given) | {"weights": "cotrain"}
    )
    for name, value in {"SEARCHED": 16, "COMMON": 4, "NUM_THRESHOLDS": 3, "ROWS": 8}.items():
        monkeypatch.setattr(over_text, name, value)


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


def test_a_position_that_keeps_its_gates_pays_the_price(cheap):
    simulator = SMALL.simulator(0.5)
    weight = simulator.reward.rule.arguments["cost_weight"]
    kept, skipped = (
        over_text.costs_of(simulator, lambda seen, kept=kept: kept) for kept in (True, False)
    )
    assert weight * (kept - skipped) == pytest.approx(0.5)


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


def test_the_study_runs_in_miniature_and_is_recorded(cheap, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(over_text, "TEXTS", {"updates": SMALL})
    words = ["--prices", "0.2", "--rollouts", "1", "--seeds", "2", "--bound", "3", "--record"]
    words += ["--results-dir", str(tmp_path), "--report-dir", str(tmp_path)]
    assert run_experiment(over_text.OVER_TEXT, "lab", words) == 0
    rows = tables.recorded.read_table(tmp_path / "over-text.json")["rows"]
    gains = {row["decides"]: row["gains"] for row in rows}
    assert len(gains["PPO, credit over time"]) == 2
    assert min(gains["every mask, future known (3 sequences)"]) >= -1e-5
    assert [0.0] in gains.values()
    assert "best threshold, kept above in surprise" in capsys.readouterr().out
