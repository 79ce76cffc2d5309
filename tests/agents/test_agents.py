"""Contract of every agent, the probe for those that learn, and the paper's regularizers by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.agents import AGENTS
from ccenv.agents.base import LayerScores
from ccenv.agents.condnet import regularizers
from ccenv.agents.rloo import leave_one_out
from ccenv.base.masks import as_mask
from ccenv.base.registry import resolve
from ccenv.base.seeding import stream
from ccenv.data.toy import PROBE_SETTINGS, probe_optimal_masks
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import collect_rollout, walk

PROBE = PROBE_SETTINGS | {
    "reward_kwargs": {"cost_weight": 0.5},
}

# Agent, its settings, and the number of images after which it must have solved the probe.
LEARNERS = [
    ("reinforce", {"learning_rate": 0.03}, 128_000),
    ("actor_critic", {"learning_rate": 0.03}, 128_000),
    ("reinforce_lagrangian", {"learning_rate": 0.03, "cost_limit": 0.2}, 128_000),
    ("rloo", {"learning_rate": 0.02, "num_kept": 1}, 32_000),
    (
        "rloo_budget",
        {
            "learning_rate": 0.02,
            "number_learning_rate": 0.02,
            "num_kept": 1,
            "cost_limit": 26 / 152,
        },
        38_400,
    ),
    (
        "condnet",
        {
            "target_density": 0.25,
            "learning_rate": 3e-3,
            "sparsity_weight": 100.0,
            "variance_weight": 5.0,
            "l2_weight": 0.0,
        },
        192_000,
    ),
    (
        "condnet",
        {
            "variant": "text",
            "target_density": 0.25,
            "learning_rate": 0.01,
            "reinforce_learning_rate": 0.3,
            "sparsity_weight": 5.0,
            "variance_weight": 1.0,
            "l2_weight": 0.0,
        },
        256_000,
    ),
    ("disarm", {"learning_rate": 0.02}, 64_000),
    ("imitation", {"learning_rate": 0.02}, 2_560),
    ("sb3_a2c", {}, 96_000),
    ("sb3_ppo", {}, 24_000),
    ("sb3_trpo", {}, 24_000),
]
LEARNER_IDS = [
    "reinforce",
    "actor_critic",
    "reinforce_lagrangian",
    "rloo",
    "rloo_budget",
    "condnet-code",
    "condnet-text",
    "disarm",
    "imitation",
    *list(AGENTS)[-3:],
]


def make_agent(name, batch_size=128, seed=0, env_settings=None, **settings):
    agent_class = resolve(name, AGENTS, "agent")
    env_settings = PROBE | agent_class.env_defaults | (env_settings or {})
    env = BlockSelectionVectorEnv(batch_size * env_settings.get("group_size", 1), **env_settings)
    env.reset(seed=seed)
    return agent_class(env, seed=seed, **settings)


def small(name):
    """Settings with which an agent fits the probe's four blocks."""
    return {"rloo": {"num_kept": 1}, "magnitude": {"target_density": 0.25}}.get(name, {})


def share_of_optimal_masks(agent):
    """Share of all (image, layer) decisions of the test split that are the optimal mask."""
    simulator = agent.simulator.on_split("test", 256)
    _, _, steps = walk(simulator, agent, None, torch.arange(256))
    best = probe_optimal_masks(simulator.data.images, len(steps))
    hits = [(s.outcome.mask == b).all(dim=1) for s, b in zip(steps, best, strict=True)]
    return torch.stack(hits).float().mean().item()


def learn_probe(name, settings, num_images, seed):
    agent = make_agent(name, seed=seed, **settings)
    agent.learn(num_images)
    return share_of_optimal_masks(agent)


@pytest.mark.parametrize(("name", "settings", "num_images"), LEARNERS, ids=LEARNER_IDS)
def test_a_learning_agent_solves_the_probe(name, settings, num_images):
    assert learn_probe(name, settings, num_images, seed=0) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("name", "settings", "num_images"), LEARNERS, ids=LEARNER_IDS)
def test_a_learning_agent_solves_the_probe_with_other_seeds(name, settings, num_images, seed):
    assert learn_probe(name, settings, num_images, seed) >= 0.95


@pytest.mark.parametrize("name", ["oracle", "magnitude"])
def test_a_rule_that_sees_more_than_observations_solves_the_probe_unlearned(name):
    assert share_of_optimal_masks(make_agent(name, **small(name))) == 1.0


def test_the_best_static_mask_keeps_everything_where_each_image_needs_another_block():
    agent = make_agent("fixed_mask")
    agent.learn(0)
    assert evaluate(agent.env, agent).compute_cost == pytest.approx(1)


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_gives_masks_of_the_layers_own_shape_sampled_and_not(name):
    agent = make_agent(name, batch_size=16, **small(name))
    observation = agent.simulator.begin()
    if hasattr(agent, "begin_episode"):
        agent.begin_episode(agent.simulator)
    for layer, num_blocks in enumerate(agent.num_blocks):
        for generator in (stream(0, "test"), None):
            mask = as_mask(agent.act(observation, layer, generator), num_blocks)
            assert mask.shape == (len(observation), num_blocks)
            assert mask.dtype == torch.bool
        observation = agent.simulator.step(mask).observation


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_learns_a_little_reports_finite_numbers_and_hands_on_what_it_has_learned(name):
    agent = make_agent(name, batch_size=16, **small(name))
    heard = []
    agent.learn(64, lambda images, scalars: heard.append((images, scalars)))
    assert [images for images, _ in heard] == sorted(images for images, _ in heard)
    for _, scalars in heard:
        assert torch.tensor(list(scalars.values())).isfinite().all()
        episode = {key for key in scalars if key.startswith("episode/")}
        assert episode == {
            f"episode/{key}"
            for key in ("return", "error", "nll", "compute_cost", "density_0", "density_1")
        }
    assert bool(heard) == agent.learns
    # What it has learned goes into another one of the same settings, every number of it.
    fresh = make_agent(name, batch_size=16, **small(name))
    fresh.load_parameters({key: value.clone() for key, value in agent.parameters().items()})
    for key, value in agent.parameters().items():
        assert torch.equal(fresh.parameters()[key], value), key


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_acts_the_same_with_the_same_seed(name):
    def masks():
        agent = make_agent(name, batch_size=16, seed=3, **small(name))
        agent.learn(64)
        return collect_rollout(agent.simulator, agent, stream(0, "test")).masks

    assert torch.equal(masks(), masks())


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_is_billed_for_choosing_or_looks_at_nothing(name):
    agent = make_agent(name, batch_size=16, **small(name))
    looks_at_nothing = name in ("dense", "block_dropout", "fixed_mask", "hash", "oracle")
    # Two compare what the network has answered anyway, two read exits alone.
    looks_at_nothing |= name in ("confidence", "act", "pondernet", "entropy_threshold")
    assert len(agent.policy_macs) == len(agent.num_blocks)
    # These choose for all layers before the first.
    once = name in ("allocation", "blockdrop")
    billed = agent.policy_macs[:1] if once else agent.policy_macs
    assert all((macs == 0) == looks_at_nothing for macs in billed)


@pytest.mark.parametrize("name", [name for name in AGENTS if name != "imitation"])
def test_every_agent_runs_on_uneven_layers_with_a_network_that_learns_along(name):
    env_settings = {
        "dataset": "synthetic",
        "network": "mlp",
        "num_blocks": (3, 5),
        "block_size": (4, 2),
        "weights": "cotrain",
    }
    agent = make_agent(name, batch_size=16, env_settings=env_settings, **small(name))
    agent.learn(48)
    assert agent.simulator.network_version == 3
    found = evaluate(agent.env, agent, split="validation")
    assert 0 <= found.error <= 1
    assert 0 <= found.compute_cost <= 1


def test_the_affine_policy_on_the_summary_costs_what_the_trial_says():
    env = BlockSelectionVectorEnv(
        8,
        dataset="synthetic",
        num_blocks=(32,),
        block_size=8,
        observation="summary",
        weights="cotrain",
    )
    env.reset(seed=0)
    # 16 x 16 pixels pool to 8 x 8; the norms of a layer before are not read where there is none.
    assert LayerScores(env.simulator, seed=0).macs == [64 * 32]


@given(returns=st.lists(st.floats(-5, 5), min_size=12, max_size=12))
def test_leave_one_out_advantages_sum_to_zero_in_each_group(returns):
    advantages = leave_one_out(torch.tensor(returns), group_size=4)
    torch.testing.assert_close(advantages.view(3, 4).sum(dim=1), torch.zeros(3), atol=1e-4, rtol=0)


def test_the_regularizers_of_a_probability_table_are_the_numbers_worked_out_by_hand():
    table = torch.tensor([[0.2, 0.8], [0.4, 0.0]])
    # Means over images .3, .4; over blocks .5, .2; variances over images .01, .16, within .09, .04.
    text = [0.05 + 0.15, (0.25 + 0.05) / 2, -(0.01 + 0.16)]
    code = [0.05**2 + 0.15**2, 0.001 * (0.25**2 + 0.05**2), -(0.17 + 0.1 * 0.13)]
    for variant, expected in (("text", text), ("code", code)):
        found = [value.item() for value in regularizers(table, 0.25, variant)]
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("block_dropout", {"keep_probability": 1.5}, r"keep_probability in \[0, 1\]"),
        ("magnitude", {"target_density": 0.0}, r"target_density in \(0, 1\]"),
        ("rloo", {"num_kept": 5}, "num_kept in 1..num_blocks"),
        ("rloo", {"num_kept": (1, 1, 1)}, "num_kept in 1..num_blocks"),
        ("rloo", {"env_settings": {"group_size": 1}}, "group_size >= 2"),
        ("condnet", {"variant": "cod"}, "did you mean 'code'"),
        ("condnet", {"learning_rate": (0.1, 0.1, 0.1)}, "one learning_rate, or one for each"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_with_what_to_do(name, settings, message):
    with pytest.raises(ValueError, match=message):
        make_agent(name, **settings)
