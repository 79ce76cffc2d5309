"""Verdicts: menus of masks, parts of a data set, and policies that do not see labels."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli

import ccenv
from ccenv.agents import AGENTS
from ccenv.agents.reinforce import Reinforce
from ccenv.annexes.agents.allocation import walk_menu
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.data import load_split
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.mdp.dynamics import initial
from ccenv.simulator.evaluate import by_class, evaluate
from tests.agents.probes import make_agent, small
from tests.ccenv.episodes import seeded

LAYERS = {"dataset": "digits", "num_blocks": (3, 2), "block_size": 4, "weights": "cotrain"}
EXITS = {"dataset": "digits", "network": "early_exit", "weights": "cotrain"}


def simulator_of(settings):
    return seeded(50, **settings)


class Always:
    """A policy of one mask."""

    def __init__(self, masks):
        self.masks, self.policy_macs = masks, [0] * len(masks)

    def act(self, observation, layer, generator=None):
        return self.masks[layer].expand(len(observation), -1).clone()


@pytest.mark.parametrize("settings", [LAYERS, EXITS], ids=["layers", "exits"])
def test_a_mask_of_a_menu_is_judged_as_a_policy_that_always_takes_it(settings):
    simulator = simulator_of(settings)
    generator = torch.Generator().manual_seed(1)
    menu = [
        torch.randint(2, (4, blocks), generator=generator).bool() for blocks in simulator.num_blocks
    ]
    judged = simulator.on_split("test", 64)
    batch = judged.data.batch(torch.arange(len(judged.data)))
    state = initial(judged.network, *batch)
    found = dict(walk_menu(judged.network, state, torch.cat(menu, dim=1), torch.arange(4)))
    for number in range(4):
        alone = ccenv.evaluate(
            simulator, Always([part[number] for part in menu]), deterministic=True
        )
        outcome = found[number]
        assert 1 - float(outcome.correct.mean()) == pytest.approx(alone.error, abs=1e-6)
        assert -float(outcome.log_likelihood.mean()) == pytest.approx(alone.nll, rel=1e-6)
        assert float(outcome.compute_cost.mean()) == pytest.approx(alone.compute_cost)


class Scores(torch.nn.Linear):
    """An actor of another library: a module without `act`."""

    def forward(self, observation):
        return (super().forward(observation) > 0).float()


def test_a_module_is_judged_as_a_policy_of_its_bits_and_its_macs_are_counted():
    simulator = simulator_of(LAYERS)
    width = simulator.obs_size
    assert simulator.begin().shape == (50, width)
    actor = Scores(width, simulator.max_blocks)

    class Same:
        policy_macs = (width * simulator.max_blocks,) * simulator.num_layers

        def act(self, observation, layer, generator=None):
            return actor(observation)[:, : simulator.num_blocks[layer]].bool()

    found, same = ccenv.evaluate(simulator, actor), ccenv.evaluate(simulator, Same())
    assert found.numbers() | {"mode": "sampled"} == same.numbers()
    assert found.deterministic is None
    assert found.draw == "given"


def test_the_macs_of_a_function_are_unknown_and_never_zero():
    simulator = simulator_of(LAYERS)
    found = ccenv.evaluate(simulator, lambda seen: np.ones((len(seen), 3), dtype=np.int64))
    assert found.compute_cost == 1
    assert all(math.isnan(x) for x in (found.policy_cost, found.total_cost, found.macs))
    assert "given masks" in repr(found)
    assert "with the policy -," in repr(found)
    assert '"total_cost": null' in json.dumps(found.numbers(), allow_nan=False)


class OfTensordicts(torch.nn.Linear):
    in_keys = ("observation",)


@pytest.mark.parametrize(
    ("actor", "error", "text"),
    [
        (OfTensordicts(2, 2), TypeError, r"lambda x: actor\(TensorDict\(observation=x\)\)\['act"),
        (lambda seen: {"action": seen}, TypeError, "expected bits .*the action alone"),
        (
            lambda seen: seen[:, :3],
            ValueError,
            "actions of 0 and 1, or bool, got others; .*scores > 0",
        ),
        (lambda seen: Bernoulli(logits=0 * seen).mode, ValueError, "got NaN, .*at 0.5; sample"),
        (lambda seen: seen[:, 0] > 0, TypeError, r"bits \[batch, 3\] from .*got Tensor"),
        (lambda seen: seen[:, :1] > 9, ValueError, "expected (a )?mask"),
        (lambda seen: seen[:1] > 9, ValueError, "expected (a )?mask"),
    ],
)
def test_a_function_that_returns_no_bits_is_told_what_it_should_return(actor, error, text):
    with pytest.raises(error, match=text):
        ccenv.evaluate(simulator_of(LAYERS), actor)


def test_what_masks_have_in_common_up_to_a_gate_is_computed_once():
    simulator = simulator_of(LAYERS)
    steps, own = [], simulator.network.step

    def counted(gate, *arguments, **settings):
        steps.append(gate)
        return own(gate, *arguments, **settings)

    simulator.network.step = counted
    batch = simulator.data.batch(torch.arange(10))
    rows = ([1, 0, 1, 0, 0], [1, 0, 1, 1, 0], [1, 0, 1, 1, 1], [1, 1, 1, 1, 1])
    masks = torch.tensor(rows).bool()
    state = initial(simulator.network, *batch)
    walked = walk_menu(simulator.network, state, masks, torch.arange(4))
    assert sorted(number for number, _ in walked) == [0, 1, 2, 3]
    assert (steps.count(0), steps.count(1)) == (2, 4)


def test_a_verdict_does_not_depend_on_how_many_inputs_are_judged_at_a_time():
    env = BlockSelectionVectorEnv(8, **PROBE_SETTINGS)
    env.reset(seed=0)
    agent = Reinforce(env, seed=0)
    whole, *others = (evaluate(env, agent, deterministic=True, batch_size=n) for n in (1000, 7, 64))
    for pieces in others:
        assert pieces.error == whole.error
        assert pieces.nll == pytest.approx(whole.nll, rel=1e-6)
        assert pieces.compute_cost == pytest.approx(whole.compute_cost, rel=1e-12)
        assert all(torch.equal(a, b) for a, b in zip(pieces.masks, whole.masks, strict=True))


def test_means_of_classes_do_not_depend_on_how_many_images_are_summed_up_at_a_time(monkeypatch):
    draws = torch.Generator().manual_seed(0)
    values, labels = torch.rand(50, 3, generator=draws), torch.arange(50).remainder(4)
    expected = torch.stack([*(values[labels == c].mean(dim=0) for c in range(4)), torch.zeros(3)])
    for part in (7, 50, 1000):
        monkeypatch.setattr("ccenv.simulator.evaluate.PART", part)
        torch.testing.assert_close(by_class(values, labels, 5), expected)


@pytest.mark.parametrize("name", AGENTS)
def test_masks_depend_on_labels_only_where_an_agent_says_so(name):
    agent = make_agent(name, 32, **small(name))
    simulator = agent.simulator
    split = load_split(simulator.dataset, "test")
    moved = dataclasses.replace(split, labels=split.labels.roll(1))
    masks = []
    for part in (split, moved):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ccenv.simulator.simulator.load_split", lambda *_, part=part: part)
            masks.append(evaluate(simulator, agent, seed=0).masks)
    same = all(torch.equal(a, b) for a, b in zip(*masks, strict=True))
    assert same == (not AGENTS[name].uses_labels)
