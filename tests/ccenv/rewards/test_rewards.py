"""Rewards: terms sum to the reward, returns are the formulas, in every view and for every agent."""

import dataclasses
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ccenv
from ccenv.agents import AGENTS
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.envs.stable_baselines import BlockSelectionVecEnv
from ccenv.mdp.dynamics import EpisodeState, StepOutcome
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.rewards import REWARDS, correct, log_likelihood, make_reward
from tests.ccenv.episodes import episode, masks_for, seeded

SIZES = {"num_blocks": (4, 3), "block_size": 4}


@pytest.fixture(scope="module")
def network():
    return build_network(GatedMLP, 0, in_features=64, **SIZES)


def steps_of(network, reward, reward_kwargs=None, seed=0, share=0.5):
    """Steps of an episode under random masks."""
    simulator = seeded(16, network=network, reward=reward, reward_kwargs=reward_kwargs)
    return episode(simulator, masks_for(simulator, seed, share))[1]


def outcome_of(logits=((2.0, 0.0), (0.0, 2.0)), labels=(0, 0)):
    batch = len(labels)
    state = EpisodeState(
        images=torch.zeros(batch, 1, 2, 2),
        labels=torch.tensor(labels),
        layer=1,
        hidden=torch.zeros(batch, 4),
        mask=None,
        macs=torch.zeros(batch, dtype=torch.int64),
    )
    return StepOutcome(
        layer=0 if logits is None else 1,
        mask=torch.ones(batch, 2, dtype=torch.bool),
        layer_cost=torch.full((batch,), 0.25),
        compute_cost=torch.full((batch,), 0.5),
        macs=torch.full((batch,), 10),
        labels=torch.tensor(labels),
        logits=None if logits is None else torch.tensor(logits),
        num_layers=2,
        before=state,
        after=dataclasses.replace(state, layer=2),
    )


@pytest.mark.parametrize("name", REWARDS)
def test_the_terms_of_a_reward_sum_to_the_reward(network, name):
    for step in steps_of(network, name):
        assert step.reward.dtype == torch.float32
        torch.testing.assert_close(step.reward, sum(step.terms.values()))


@dataclasses.dataclass
class Ended:
    """What formulas of returns are about: of each image."""

    right: torch.Tensor
    likelihood: torch.Tensor
    cost: torch.Tensor
    skipped: torch.Tensor


FORMULAS = {
    "accuracy_minus_cost": (lambda w: {"cost_weight": w}, lambda e, w: e.right - w * e.cost),
    "terminal_cost": (lambda w: {"cost_weight": w}, lambda e, w: e.right - w * e.cost),
    # A price that has not moved yet is a weight.
    "lagrangian": (
        lambda w: {"initial_price": w, "objective": "accuracy"},
        lambda e, w: e.right - w * e.cost,
    ),
    "pid_lagrangian": (lambda w: {"initial_price": w}, lambda e, w: e.likelihood - w * e.cost),
    "nll_minus_cost": (lambda w: {"cost_weight": w}, lambda e, w: e.likelihood - w * e.cost),
    "probability_minus_cost": (
        lambda w: {"cost_weight": w},
        lambda e, w: e.likelihood.exp() - w * e.cost,
    ),
    "negative_nll": (lambda w: {}, lambda e, w: e.likelihood),
    "budget_hinge": (
        lambda w: {"cost_limit": 0.3, "cost_weight": w},
        lambda e, w: e.right - w * (e.cost - 0.3).clamp(min=0),
    ),
    "blockdrop": (
        lambda w: {"wrong_penalty": w},
        lambda e, w: e.right * (1 - e.cost**2) - w * (1 - e.right),
    ),
    "skipnet": (lambda w: {"skip_weight": w}, lambda e, w: e.likelihood + w * e.skipped),
}
"""Reward -> its settings of one weight, and its return over an episode."""


@pytest.mark.parametrize("name", FORMULAS)
@given(seed=st.integers(0, 100), weight=st.floats(0, 10), share=st.floats(0, 1))
@settings(max_examples=10, deadline=None)
def test_returns_are_the_formulas_of_the_descriptions(network, name, seed, weight, share):
    kwargs, formula = FORMULAS[name]
    steps = steps_of(network, name, kwargs(weight), seed, share)
    last = steps[-1].outcome
    found = Ended(
        right=(last.logits.argmax(dim=1) == last.labels).float(),
        likelihood=last.logits.log_softmax(dim=1)[torch.arange(16), last.labels],
        cost=last.compute_cost,
        skipped=sum(1 - s.outcome.mask.float().mean(dim=1) for s in steps) / len(steps),
    )
    total = sum(step.reward for step in steps)
    torch.testing.assert_close(total, formula(found, weight), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", REWARDS)
@given(seed=st.integers(0, 100), share=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
@settings(max_examples=2, deadline=None)
def test_returns_stay_in_the_documented_range(network, name, seed, share):
    description = make_reward(name).description
    steps = steps_of(network, name, seed=seed, share=share)
    total = sum(step.reward for step in steps)
    assert description.low - 1e-6 <= total.min()
    assert total.max() <= description.high + 1e-6
    assert "correct" in description.formula or "p(label)" in description.formula
    for term, (low, high) in description.components.items():
        assert all(low <= step.terms[term].min() for step in steps)
        assert all(step.terms[term].max() <= high for step in steps)


def test_nothing_is_paid_for_an_answer_before_the_last_layer():
    early, last = outcome_of(logits=None), outcome_of()
    assert correct(early).tolist() == log_likelihood(early).tolist() == [0.0, 0.0]
    assert correct(last).tolist() == [1.0, 0.0]
    expected = [-math.log(1 + math.exp(-2)), -math.log(1 + math.exp(2))]
    assert log_likelihood(last).tolist() == pytest.approx(expected)


def test_whole_numbers_and_truth_values_become_floats():
    reward = make_reward(lambda outcome: {"hit": outcome.labels == 0, "macs": outcome.macs})
    terms = reward(outcome_of())
    assert {term.dtype for term in terms.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("reward", "arguments", "message"),
    [
        ("accuracy_minus_cots", {}, "did you mean 'accuracy_minus_cost'"),
        ("acuracy", {}, "did you mean 'accuracy_minus_cost'"),
        ("accuracy_minus_cost", {"cost_wieght": 1}, "did you mean 'cost_weight'"),
        ("accuracy_minus_cost", {"cost_weight": -1}, "cost_weight to be a number of at least 0"),
        ("accuracy_minus_cost", {"cost_weight": "1"}, "cost_weight to be a number of at least 0"),
        ("accuracy_minus_cost", {"cost_weight": math.nan}, "cost_weight to be finite, got nan"),
        ("accuracy_minus_cost", {"cost_weight": np.float32(np.inf)}, "cost_weight to be finite"),
        ("negative_nll", {"cost_weight": 1}, "unknown setting in reward_kwargs 'cost_weight'"),
        ("blockdrop", {"wrong_penalty": -1}, "wrong_penalty to be a number of at least 0"),
        ("budget_hinge", {"cost_limit": 0}, r"expected cost_limit in \(0, 1\].* got 0"),
        ("lagrangian", {"cost_limit": 1.5}, r"expected cost_limit in \(0, 1\].* got 1.5"),
        ("pid_lagrangian", {"cost_limit": True}, r"expected cost_limit in \(0, 1\].* got True"),
        ("lagrangian", {"objective": "acuracy"}, "did you mean 'accuracy'"),
        ("lagrangian", {"price_scale": 0}, "price_scale above 0"),
        ("lagrangian", {"smoothing": 1}, r"smoothing in \[0, 1\)"),
        ("lagrangian", {"quadratic_weight": -1}, "quadratic_weight to be a number of at least 0"),
        ("lagrangian", {"update_every": 0}, "update_every to be whole numbers of at least 1"),
        ("pid_lagrangian", {"smoothing": 1.0}, r"smoothing in \[0, 1\)"),
        ("target_density", {"target_density": 1.5}, r"target_density in \[0, 1\]"),
        (3, {}, "expected reward to be a name, a function or a class, got 3"),
        (lambda outcome, scale: outcome.layer_cost, {}, "missing a required argument: 'scale'"),
    ],
)
def test_wrong_settings_of_a_reward_are_refused(reward, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_reward(reward, arguments)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            torch.tensor(1.0),
            r"'total' of the reward 'mine' in step 1 to be a tensor \[2\].* got \[\]",
        ),
        (torch.zeros(2, 1), r"got \[2, 1\]"),
        (0.5, "got float"),
        ({"bonus": np.zeros(2)}, "'bonus' of .* to be a tensor .* got ndarray"),
        ({}, "at least one term"),
        (
            torch.tensor([0.0, math.nan]),
            "in step 1 to give finite numbers, got NaN or infinity in total",
        ),
        (
            {"a": torch.zeros(2), "b": torch.tensor([math.inf, 0])},
            "in step 1 to give finite numbers, got NaN or infinity in b",
        ),
    ],
)
def test_a_reward_that_is_not_one_finite_number_for_each_image_is_refused(result, message):
    def mine(outcome):
        return result

    with pytest.raises(ValueError, match=message):
        make_reward(mine)(outcome_of())


PROBE = dict(PROBE_SETTINGS)


def drawn_masks(rows, seed=0):
    return np.random.default_rng(seed).random((2, rows, 4)) < 0.5


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
def test_a_vector_reward_is_two_numbers_within_the_declared_space(mode):
    env = ccenv.BlockSelectionVectorEnv(5, reward="vector", autoreset_mode=mode, **PROBE)
    assert env.reward_space == gym.spaces.Box(
        np.array([0, -1], np.float32), np.array([1, 0], np.float32)
    )
    env.reset(seed=0)
    for step, mask in enumerate(drawn_masks(5)):
        _, reward, _, _, info = env.step(mask)
        assert reward.shape == (5, 2)
        assert reward.dtype == np.float32
        assert all(row in env.reward_space for row in reward)
        np.testing.assert_array_equal(reward[:, 1], -info["cost"])
        np.testing.assert_array_equal(reward[:, 0], info["correct"] if step else np.zeros(5))
    if mode == "NEXT_STEP":
        np.testing.assert_array_equal(env.step(mask)[1], np.zeros((5, 2)))
    alone = ccenv.BlockSelectionEnv(reward="vector", **PROBE)
    alone.reset(seed=0)
    _, reward, *_ = alone.step(np.ones(4, dtype=np.int8))
    assert reward in alone.reward_space
    assert ccenv.BlockSelectionEnv(**PROBE).reward_space is None


def test_who_needs_one_number_refuses_a_vector_and_says_so():
    with pytest.raises(ValueError, match="one number for Stable-Baselines3, got 'vector'"):
        BlockSelectionVecEnv(4, reward="vector", **PROBE)
    env = ccenv.BlockSelectionVectorEnv(4, reward="vector", **PROBE)
    env.reset(seed=0)
    for name in ("dense", "reinforce"):
        with pytest.raises(ValueError, match="one number for agents, got 'vector'"):
            AGENTS[name](env, seed=0)
