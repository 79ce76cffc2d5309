"""Contract of every agent: masks, bills, what it hands on, and settings that are refused."""

import functools

import pytest
import torch
from probes import EXPERTS, UNEVEN, make_agent, small

from ccenv.agents import AGENTS
from ccenv.base.masks import as_mask
from ccenv.base.seeding import stream
from ccenv.networks.core.count_macs import counted
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import collect_rollout

# Their acts ask the network or tables of the whole batch.
BILLED_BY_FORMULA = ("allocation", "magnitude", "wta_retrieval")


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_gives_masks_of_the_layers_own_shape_and_is_billed_for_choosing(name):
    agent = make_agent(name, rows=16, **small(name))
    observation = agent.simulator.begin()
    agent.begin_episode(agent.simulator)
    for layer, num_blocks in enumerate(agent.num_blocks):
        for draws in (lambda: stream(0, "test"), lambda: None):
            mask, again = (
                as_mask(agent.act(observation, layer, draws()), num_blocks) for _ in range(2)
            )
            assert mask.shape == (len(observation), num_blocks)
            assert mask.dtype == torch.bool
            assert torch.equal(mask, again)
        chances = agent.keep_probability(observation, layer)
        assert chances is None or chances.shape == mask.shape
        observation = agent.simulator.step(mask).observation
    # What an agent hands on is its own: a file of it holds no weights of the network.
    of_network = {tensor.data_ptr() for tensor in agent.simulator.network.state_dict().values()}
    assert not of_network & {tensor.data_ptr() for tensor in agent.parameters().values()}
    assert len(agent.policy_macs) == len(agent.num_blocks)
    if name in BILLED_BY_FORMULA:
        assert agent.policy_macs[0] > 0
        return
    # The bill is what runs.
    observation = agent.simulator.begin()[:1]
    for layer, macs in enumerate(agent.policy_macs):
        with torch.no_grad():
            ran, _ = counted(functools.partial(agent.act, observation, layer))
        assert macs == ran


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_learns_a_little_the_same_by_its_seed_and_hands_on_what_it_has_learned(name):
    heard, masks = [], []
    for hears in (heard, []):
        # The global stream matters to no agent, and learning leaves it where it is.
        torch.rand(1 + len(masks))
        agent = make_agent(name, rows=16, seed=3, **small(name))
        before = torch.get_rng_state()
        agent.learn(64, lambda images, scalars, hears=hears: hears.append((images, scalars)))
        masks.append(collect_rollout(agent.simulator, agent, stream(0, "test")).masks)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*masks)
    assert [images for images, _ in heard] == sorted(images for images, _ in heard)
    for _, scalars in heard:
        assert torch.tensor(list(scalars.values())).isfinite().all()
        episode = {key for key in scalars if key.startswith("episode/")}
        densities = [f"density_{gate}" for gate in range(agent.simulator.num_layers)]
        keys = ("return", "error", "nll", "compute_cost", *densities)
        assert episode == {f"episode/{key}" for key in keys}
        terms = sum(value for key, value in scalars.items() if key.startswith("reward/"))
        assert scalars["episode/return"] == pytest.approx(terms, abs=1e-4)
    assert bool(heard) == (agent.learns or agent.simulator.weights == "cotrain")
    # What it has learned goes into another one of the same settings, every number of it.
    fresh = make_agent(name, rows=16, **small(name))
    fresh.load_parameters({key: value.clone() for key, value in agent.parameters().items()})
    for key, value in agent.parameters().items():
        assert torch.equal(fresh.parameters()[key], value), key


@pytest.mark.parametrize("name", ["reinforce", "actor_critic", "disarm", "reinforce_lagrangian"])
def test_a_bonus_on_entropy_fades_to_nothing_at_the_end_of_training(name):
    def gradient(progress, entropy_weight):
        agent = make_agent(name, rows=16, entropy_weight=entropy_weight)
        agent.progress = progress
        agent.update(collect_rollout(agent.simulator, agent, agent.generator))
        return torch.cat([one.grad.flatten() for one in agent.scores.parameters()])

    plain = gradient(0.0, 0.0)
    assert torch.equal(gradient(1.0, 1.0), plain)
    assert torch.equal(gradient(0.5, 1.0), gradient(0.0, 0.5))
    assert not torch.equal(gradient(0.0, 1.0), plain)


NOT_ON_LAYERS = ("act", "pondernet", "entropy_threshold")


@pytest.mark.parametrize("name", [name for name in AGENTS if name not in NOT_ON_LAYERS])
def test_every_agent_runs_on_uneven_layers_with_a_network_that_learns_along(name):
    agent = make_agent(name, rows=16, env_settings=UNEVEN, **small(name))
    network = [parameter.clone() for parameter in agent.simulator.network.parameters()]
    agent.update(collect_rollout(agent.simulator, agent, agent.generator))
    # The agent's own update leaves the network and its gradients alone.
    for one, other in zip(network, agent.simulator.network.parameters(), strict=True):
        assert torch.equal(one, other)
        assert other.grad is None
    agent.simulator.learning.pending.clear()
    agent.learn(48)
    assert agent.simulator.network_version == 3
    found = evaluate(agent.env, agent, split="validation")
    assert 0 <= found.error <= 1
    assert 0 <= found.compute_cost <= 1


def test_the_best_static_mask_keeps_everything_where_each_image_needs_another_block():
    agent = make_agent("fixed_mask")
    agent.learn(0)
    assert evaluate(agent.env, agent).compute_cost == pytest.approx(1)


KEEPS_K = {
    "reinforce": {},
    "actor_critic": {},
    "ppo": {},
    "rloo": {},
    "topk": {},
    "noisy_topk": {},
    "dynamic_gate": {},
    "gumbel": {"sampling": "ordered"},
}


@pytest.mark.parametrize("name", KEEPS_K)
@pytest.mark.parametrize("num_kept", [1, (2, 3)])
def test_k_blocks_are_kept_in_training_and_in_use(name, num_kept):
    agent = make_agent(name, 16, env_settings=UNEVEN, num_kept=num_kept, **KEEPS_K[name])
    for generator in (agent.generator, stream(0, "test"), None):
        masks = collect_rollout(agent.simulator, agent, generator).masks
        kept = (1, 1) if num_kept == 1 else num_kept
        assert masks.sum(dim=2).unique(dim=1).flatten().tolist() == [*kept]


NOISY = {
    "topk": {"num_kept": 1},
    "noisy_topk": {"num_kept": 1},
    "gumbel": {"sampling": "ordered", "num_kept": 1},
    "rloo": {"num_kept": 1, "sampling": "perturbed"},
}


@pytest.mark.parametrize("name", NOISY)
def test_where_noise_is_for_training_alone_masks_in_use_are_the_greedy_ones(name):
    agent = make_agent(name, 64, **NOISY[name])
    observation = agent.simulator.begin()
    training, drawn, greedy = (
        as_mask(agent.act(observation, 0, generator), 4)
        for generator in (agent.generator, stream(0, "test"), None)
    )
    assert torch.equal(drawn, greedy)
    assert not torch.equal(training, greedy)


ON_EXITS, ON_UNITS = {"probe": "exits"}, {"probe": "units"}
ROUTER = {"env_settings": EXPERTS, "num_kept": 1}
CONV = {"channels": [8, 8], "num_blocks": 4, "strides": [1, 2]}
CONV = {"dataset": "digits", "network": "conv", "network_kwargs": CONV, "weights": "cotrain"}
PERTURBED = {"num_kept": 1, "sampling": "perturbed"}
K_OF_N = r"num_kept in 1\.\.num_blocks"
NOT_NEGATIVE = "to be a finite number of at least 0"
REFUSED = [
    ("block_dropout", {"keep_probability": 1.5}, r"keep_probability in \[0, 1\]"),
    ("magnitude", {"target_density": 0.0}, r"target_density in \(0, 1\]"),
    ("rloo", {"num_kept": 5}, K_OF_N),
    ("rloo", {"num_kept": (1, 1, 1)}, "one for each of 2 gates"),
    ("rloo", {"env_settings": {"group_size": 1}}, "group_size >= 2"),
    ("rloo", {"num_kept": 2, "shared_blocks": 2}, "below num_kept"),
    ("rloo", {"sampling": "order"}, "did you mean 'ordered'"),
    ("rloo", {"advantage": "normalized"}, "did you mean 'normalised'"),
    ("rloo", {"dense_share": 0.6, "anneal_share": 0.6}, "together at most 1"),
    ("rloo", {"sampling": "independent", "anneal_share": 0.5}, "expected sampling='ordered'"),
    ("rloo_budget", {"paired_masks": 3}, "paired_masks that divide it"),
    ("rloo_budget", {"cost_limit": 0.0}, "cost_limit"),
    ("rloo_budget", {"num_kept": 5}, K_OF_N),
    ("rloo_budget", {"num_kept": 2, "max_kept": 1}, "min_kept <= num_kept <= max_kept"),
    ("rloo", PERTURBED | {"num_epochs": 2}, "expected one step a"),
    ("rloo", PERTURBED | {"perturbed_share": 0}, r"perturbed_share in \(0, 1\], got 0"),
    ("rloo", PERTURBED | {"advantage": "normalised"}, "neither advantage nor shared_blocks with"),
    ("rloo", {"start": "hash"}, "expected embedding_size='one_hot'"),
    ("reinforce", {"embedding_size": -1}, "expected embedding_size to be a whole number"),
    ("reinforce", {"embedding_size": "onehot"}, "did you mean 'one_hot'"),
    ("reinforce", {"min_probability": 0.5}, r"min_probability in \(0, 0.5\), got 0.5"),
    ("reinforce", {"num_minibatches": 3}, "at most the 2 episodes of a rollout, got 3"),
    ("reinforce", {"num_epochs": 0}, "whole numbers of at least 1"),
    ("actor_critic", {"num_kept": 5}, K_OF_N),
    ("rloo_budget", {"num_kept": 2, "min_kept": 3}, "min_kept <= num_kept <= max_kept"),
    ("rloo_budget", {"spread": 0.0}, "spread"),
    ("condnet", {"variant": "cod"}, "did you mean 'code'"),
    ("condnet", {"learning_rate": (0.1, 0.1, 0.1)}, "one learning_rate, or one for each"),
    ("disarm", {"env_settings": {"group_size": 3}}, "even group_size"),
    ("disarm", {"start_density": 1.0}, r"start_density in \(0, 1\)"),
    ("act", ON_EXITS | {"epsilon": 0.0}, r"epsilon in \(0, 1\)"),
    ("act", ON_EXITS | {"epsilon": 1.0}, r"epsilon in \(0, 1\)"),
    ("act", ON_UNITS, "expected a network with exits for act, such as pondering"),
    ("pondernet", ON_UNITS, "expected a network with exits for pondernet, such as pondering"),
    ("entropy_threshold", ON_UNITS, "network='streaming' or 'patches' for entropy_threshold, got"),
    ("pondernet", ON_EXITS | {"prior_rate": 0.0}, r"prior_rate in \(0, 1\)"),
    ("pondernet", ON_EXITS | {"prior_weight": -1.0}, NOT_NEGATIVE),
    ("blockdrop", {"alpha": 0.5}, r"alpha in \(0.5, 1\]"),
    ("blockdrop", {"curriculum_share": 1.5}, r"curriculum_share in \[0, 1\]"),
    ("skipnet", {"supervised_share": -0.1}, r"supervised_share in \[0, 1\]"),
    ("skipnet", {"start_density": 1.0}, r"start_density in \(0, 1\)"),
    ("allocation", {"cost_limit": 0.0}, r"cost_limit in \(0, 1\]"),
    ("allocation", {"num_offers": 1}, "num_offers to be a whole number of at least 2"),
    ("confidence", {"stop_shares": 1.5} | ON_EXITS, r"stop_shares in \[0, 1\]"),
    ("confidence", {"stop_shares": [0.5, 0.5]} | ON_EXITS, "one for each of 3 gates"),
    ("confidence", {"measure": "margins"}, "did you mean 'margin'"),
    ("confidence", {"env_settings": {"observation": "summary"}} | ON_EXITS, "'layer_input'"),
    ("dynamic_gate", {"num_kept": 7}, K_OF_N),
    ("dynamic_gate", {"usage_weight": -1.0}, NOT_NEGATIVE),
    ("gumbel", {"sampling": "orderd"}, "did you mean 'ordered'"),
    ("gumbel", {"sampling": "ordered", "num_kept": 5}, K_OF_N),
    ("gumbel", {"target_density": 0.0}, r"target_density in \(0, 1\]"),
    ("gumbel", {"last_temperature": 0.0}, "temperatures above 0"),
    ("straight_through", {"sampling": "bernouli"}, "did you mean 'bernoulli'"),
    ("straight_through", {"target_density": (0.1,)}, "one for each of 2 gates"),
    ("topk", {"num_kept": 5}, K_OF_N),
    ("topk", {"bias_rate": -0.1}, NOT_NEGATIVE),
    ("topk", ROUTER | {"capacity": 0}, "capacity above 0, or none, got 0"),
    ("topk", ROUTER | {"capacity": 0.1}, r"0\.1 x 2 rows x 1 of 4 blocks; raise capacity"),
    ("noisy_topk", {"num_kept": 9}, K_OF_N),
    ("noisy_topk", ON_EXITS, K_OF_N),
    ("wta_retrieval", {"window": 99}, "window of at most the"),
    ("wta_retrieval", {"probes": 65}, "at most so many probes"),
    ("wta_retrieval", {"hashes": 21}, r"below 2 \*\* 62"),
    ("wta_retrieval", {"min_kept": 3, "max_kept": 2}, "min_kept of at most max_kept"),
    ("wta_retrieval", {"keys": "unit"}, "did you mean 'units'"),
    ("wta_retrieval", {"tables": 0}, "whole numbers of at least 1"),
    ("wta_retrieval", ON_UNITS, "several blocks to retrieve"),
    ("wta_retrieval", {"env_settings": CONV}, r"of fully\s+connected"),
    ("sb3_ppo", {"n_steps": 3}, "multiple of the 2 steps"),
    ("sb3_ppo", {"gamma": 0.99}, "expected gamma=1"),
    ("sb3_ppo", {"stats_window_size": 1}, "at least the 2 rows"),
    ("sb3_ppo", {"learning_rat": 0.1}, "did you mean 'learning_rate'"),
    ("sb3_ppo", {"num_minibatches": 3}, "to divide the 4 steps"),
    ("sb3_ppo", {"batch_size": 3}, "to divide the 4 steps"),
    ("sb3_ppo", {"num_minibatches": 0}, "to divide the 4 steps"),
    ("sb3_ppo", {"num_minibatches": 2, "batch_size": 2}, "leave one out"),
]


@pytest.mark.parametrize(("name", "settings", "message"), REFUSED)
def test_a_setting_that_does_not_fit_is_refused_with_what_to_do(name, settings, message):
    with pytest.raises(ValueError, match=message):
        make_agent(name, 2, **settings)
