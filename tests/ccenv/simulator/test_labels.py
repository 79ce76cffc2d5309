"""A policy that does not declare `uses_labels` chooses its masks without the labels."""

import dataclasses

import pytest
import torch

from ccenv.agents import AGENTS
from ccenv.base.registry import resolve
from ccenv.data import load_split
from ccenv.data.toy import PROBE_SETTINGS
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.simulator import Simulator

SETTINGS = {"rloo": {"num_kept": 1}, "sb3_ppo": {"num_minibatches": 2}}
AGENTS_BY_LABELS = {name: resolve(name, AGENTS, "agent").uses_labels for name in AGENTS}


@pytest.mark.parametrize("name", AGENTS)
def test_masks_depend_on_labels_only_where_an_agent_says_so(name):
    agent_class = resolve(name, AGENTS, "agent")
    simulator = Simulator(32, **PROBE_SETTINGS | agent_class.env_defaults)
    simulator.seed(0)
    agent = agent_class(simulator, **SETTINGS.get(name, {}))
    split = load_split(simulator.dataset, "test")
    moved = dataclasses.replace(split, labels=split.labels.roll(1))
    masks = []
    for part in (split, moved):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ccenv.simulator.simulator.load_split", lambda *_, part=part: part)
            masks.append(evaluate(simulator, agent, seed=0).masks)
    same = all(torch.equal(a, b) for a, b in zip(*masks, strict=True))
    assert same == (not AGENTS_BY_LABELS[name])
