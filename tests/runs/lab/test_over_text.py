"""Laws of the study of decisions over time on real text."""

import itertools

import pytest
import torch

from ccenv.runs.lab import over_text, over_text_experts, tables
from ccenv.runs.lab.experiment import run_experiment

SMALL = over_text.Text(length=3, network="skip_gru", sizes={"width": 4, "embedding_size": 3})
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
    few = {"SEARCHED": 16, "COMMON": 4, "NUM_THRESHOLDS": 3, "ROWS": 8, "COPIES": 4}
    for name, value in few.items():
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


def test_the_best_choices_of_experts_are_the_best_of_all_that_there_are(cheap):
    seen, price = over_text_experts.known(EXPERTS.simulator(0.5), "train", 3), 0.05
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
        assert all(len(gains[decides]) == 2 for decides in over_text.LEARNED)
        assert min(gains[f"{bound}, future known (3 sequences)"]) >= -1e-5
        assert [0.0] in gains.values()
    shown = capsys.readouterr().out
    assert "PPO, credit over time" in shown
    assert "always" not in shown, "a rule that is worse than the best one"
