"""What the sweep digits uses is what the recorded candidates say on validation images."""

import json
import statistics
from collections import defaultdict
from pathlib import Path

from ccenv.agents.sb3 import A2CAgent
from ccenv.runs.sweeps import SWEEPS

RECORDED = Path(__file__).parents[3] / "runs/results/digits-settings.json"


def rewards_on_validation():
    """Label -> rewards on validation images, one for each seed."""
    found = defaultdict(list)
    for cell in json.loads(RECORDED.read_text())["cells"]:
        (judged,) = (e for e in cell["evaluations"] if e["split"] == "validation")
        found[cell["label"]].append(judged["mean_return"])
    return found


def best(agent):
    """Settings of an agent's candidate with the largest mean reward, and all its rewards."""
    rewards = rewards_on_validation()
    candidates = [cell for cell in SWEEPS["digits-settings"].cells if cell.agent == agent]
    chosen = max(candidates, key=lambda cell: statistics.mean(rewards[cell.label]))
    return chosen.settings, rewards[chosen.label]


def test_every_candidate_was_run_with_seeds_of_its_own():
    rewards = rewards_on_validation()
    assert {len(rewards[cell.label]) for cell in SWEEPS["digits-settings"].cells} == {3}


def test_condnet_on_digits_is_the_best_candidate():
    settings, _ = best("condnet")
    (used,) = (cell for cell in SWEEPS["digits"].cells if cell.agent == "condnet")
    assert settings == used.settings


def test_a2c_has_the_rate_of_the_best_candidate():
    settings, _ = best("sb3_a2c")
    assert settings["learning_rate"] == A2CAgent.defaults["learning_rate"]
