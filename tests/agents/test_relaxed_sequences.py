"""Laws of relaxed gates over sequences: the environment's loss, and its slope as their gradient."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, linear

import ccenv
from ccenv.agents import AGENTS
from ccenv.agents.rloo import Rloo
from ccenv.annexes.agents.straight_through_ops import relaxed_rewards, soft_cost
from ccenv.annexes.networks.baselines.skip_gru import SkipGRU
from ccenv.annexes.tasks.updating import Counter, Updating
from ccenv.mdp.dynamics import initial
from ccenv.networks.core.protocol import group_of, repeat_rows
from ccenv.simulator.rollout import collect_rollout
from tests.ccenv.episodes import seeded

LENGTH, PRICE = 5, 0.3
SETTINGS = {
    "dataset": f"python_bundled@{LENGTH}",
    "episode": "sequence",
    "reward": "nll_minus_cost",
    "reward_kwargs": {"cost_weight": PRICE},
    "weights": "cotrain",
}
SMALL = {"network": "skip_gru", "network_kwargs": {"width": 4, "embedding_size": 3}}
OF_LM = {"depth": 2, "width": 4, "num_heads": 2, "ffn_width": 3, "num_experts": 2}
OF_PATCHES = {"width": 4, "num_heads": 2, "ffn_width": 3, "context": 2, "embedding_size": 2}
NETWORKS = {
    "skip_gru": SMALL,
    "lm of experts": {"network": "lm", "network_kwargs": OF_LM | {"gates": "heads,experts"}},
    "patches": {"network": "patches", "network_kwargs": OF_PATCHES | {"patch_size": 3}},
}
AGENTS_WITH_GRADIENT = {
    "gumbel": {},
    "straight_through": {},
    "straight_through without noise": {"sampling": "threshold"},
}


def simulator_of(rows=3, **settings):
    return seeded(rows, **SETTINGS | SMALL | settings)


def make_agent(name, simulator, **settings):
    own = AGENTS_WITH_GRADIENT[name] | settings
    return AGENTS[name.split()[0]](simulator, seed=0, **own)


def drawn_masks(simulator, seed):
    generator = torch.Generator().manual_seed(seed)
    blocks = [n for _ in range(simulator.positions) for n in simulator.num_blocks]
    return [torch.rand(simulator.num_images, n, generator=generator) < 0.5 for n in blocks]


def returns_under(simulator, masks):
    """Of sequences under way, as the environment pays them."""
    steps = [simulator.step(mask) for mask in masks]
    return torch.stack([step.reward for step in steps]).sum(dim=0)


def relaxed_returns(simulator, masks, soft_masks):
    pairs = list(zip(masks, soft_masks, strict=True))
    found = relaxed_rewards(simulator, simulator.indices, lambda step, _: pairs[step])
    return sum(found).sum(dim=0)


@pytest.mark.parametrize("weights", ["frozen", "cotrain"])
@pytest.mark.parametrize("kept", [True, False])
def test_soft_masks_of_ones_give_the_environments_own_loss_bit_for_bit(weights, kept):
    simulator = simulator_of(weights="cotrain")
    if weights == "frozen":
        simulator.network.requires_grad_(False)
    simulator.begin()
    masks = [torch.full((3, 1), kept) for _ in range(LENGTH)]
    soft_masks = [mask.float().requires_grad_() for mask in masks]
    relaxed = relaxed_returns(simulator, masks, soft_masks)
    assert relaxed.requires_grad
    assert torch.equal(relaxed.detach(), returns_under(simulator, masks))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(3))
def test_under_any_masks_the_relaxed_return_is_the_environments(name, seed):
    simulator = simulator_of(**NETWORKS[name])
    simulator.begin()
    masks = drawn_masks(simulator, seed)
    relaxed = relaxed_returns(simulator, masks, [mask.float() for mask in masks])
    torch.testing.assert_close(relaxed.detach(), returns_under(simulator, masks))


def plain_loss(simulator, soft_mask_of):
    """Mean loss of sequences by a loop of products: (look, place) -> soft mask [rows, 1]."""
    network, places = simulator.network, simulator.positions
    gru, rows = network.stem.gru, len(simulator.indices)
    kind = network.head.weight.dtype
    state = torch.zeros(rows, network.width, dtype=kind)
    answer, loss = torch.zeros(rows, network.num_classes, dtype=kind), 0.0
    share = network.update_macs / network.dense_macs
    for place in range(places):
        images, labels = simulator.data.batch(simulator.indices * places + place)
        symbol = images[:, -1]
        surprise = cross_entropy(answer, symbol, reduction="none")
        embedded = network.stem.embedding.weight[symbol]
        soft_mask = soft_mask_of(torch.cat([surprise[:, None], state, embedded], dim=1), place)
        of_input = linear(embedded, gru.weight_ih_l0, gru.bias_ih_l0).chunk(3, dim=1)
        of_state = linear(state, gru.weight_hh_l0, gru.bias_hh_l0).chunk(3, dim=1)
        reset, update = (torch.sigmoid(of_input[i] + of_state[i]) for i in (0, 1))
        new = torch.tanh(of_input[2] + reset * of_state[2])
        updated = (1 - update) * new + update * state
        state = soft_mask * updated + (1 - soft_mask) * state
        answer = network.head(state) + network.of_symbols.weight[symbol]
        loss = loss + cross_entropy(answer, labels)
        loss = loss + PRICE * ((1 - share) + share * soft_mask).mean()
    return loss


@pytest.fixture(scope="module")
def simulator():
    """One for all examples, which begin the same sequences."""
    return simulator_of()


@given(seed=st.integers(0, 100))
def test_the_gradient_in_soft_masks_is_that_of_a_plain_loop_over_the_sequence(simulator, seed):
    simulator.begin(torch.arange(simulator.num_images))
    masks = drawn_masks(simulator, seed)
    leaves = [[mask.float().requires_grad_() for mask in masks] for _ in range(2)]
    loss = -relaxed_returns(simulator, masks, leaves[0]).mean()
    plain = plain_loss(simulator, lambda _, place: leaves[1][place])
    torch.testing.assert_close(loss, plain)
    found, expected = (
        torch.autograd.grad(one, own) for one, own in ((loss, leaves[0]), (plain, leaves[1]))
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_it_is_the_slope_by_finite_differences_also_through_later_positions():
    simulator = simulator_of(rows=2)
    simulator.network.double()
    simulator.begin(torch.tensor([3, 8]))
    masks = drawn_masks(simulator, 1)
    soft_masks = [(mask.double() * 0.6 + 0.2).requires_grad_() for mask in masks]

    def total(*own):
        return relaxed_returns(simulator, masks, own).sum()

    assert torch.autograd.gradcheck(total, soft_masks)
    pairs = list(zip(masks, soft_masks, strict=True))
    likely, _ = relaxed_rewards(simulator, simulator.indices, lambda step, _: pairs[step])
    (later,) = torch.autograd.grad(likely[-1].sum(), soft_masks[0])
    assert later.abs().min() > 1e-9


@pytest.mark.parametrize("name", AGENTS_WITH_GRADIENT)
def test_an_update_has_the_gradient_of_a_loop_that_sees_its_own_states(name):
    simulator = simulator_of(rows=16)
    agent = make_agent(name, simulator, target_density=0.5)
    rollout = collect_rollout(simulator, agent, agent.generator)
    noise = dict(getattr(agent, "noise", {}))
    layer = agent.scores.last(0)

    def soft_mask(look, place):
        scores = linear(look, layer.weight, layer.bias)
        if name == "gumbel":
            relaxed = ((scores + noise[place]) / agent.temperature).sigmoid()
        else:
            relaxed = agent.distribution(look, 0).probability
        return rollout.masks[place].float() + relaxed - relaxed.detach()

    loss = plain_loss(simulator, soft_mask)
    expected = torch.autograd.grad(loss, [layer.weight, layer.bias])
    assert agent.update(rollout)["loss"] == pytest.approx(loss.item(), rel=1e-5)
    found = layer.weight.grad, layer.bias.grad
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert not getattr(agent, "noise", {})


def test_a_blocks_slope_is_what_it_costs_beside_the_others_of_the_mask():
    simulator = seeded(4, dataset="synthetic", num_blocks=[3], block_size=2, weights="cotrain")
    simulator.begin()
    mask = torch.tensor([[True, False, True]]).expand(4, -1)
    soft_mask = mask.float().requires_grad_()
    state = initial(simulator.network, *simulator.data.batch(simulator.indices))
    cost = soft_cost(simulator.network, state, mask, soft_mask)
    (slope,) = torch.autograd.grad(cost.sum(), soft_mask)
    assert torch.equal(cost.detach(), simulator.step(mask).outcome.layer_cost)
    for block in range(3):
        costs = []
        for kept in (True, False):
            changed = mask.clone()
            changed[:, block] = kept
            simulator.begin(simulator.indices)
            costs.append(simulator.step(changed).outcome.layer_cost)
        torch.testing.assert_close(slope[:, block], costs[0] - costs[1])


class Smooth(Counter):
    """Counts with gate values, and is the surer at the last position the more it has counted."""

    def step(self, gate, hidden, mask, weights=None, backend="auto"):
        hidden = repeat_rows(hidden, group_of(len(hidden.count), mask, weights))
        more = hidden.seen[:, 0] if mask is None else hidden.seen[:, 0] * mask[:, 0]
        more = more if weights is None else more * weights[:, 0]
        return dataclasses.replace(hidden, count=hidden.count + more)

    def logits(self, hidden, backend="auto"):
        right = hidden.seen[:, 1] * 6 * (hidden.count - 1.5)
        return torch.stack([torch.zeros_like(right), right], dim=1)


@pytest.mark.parametrize("name", AGENTS_WITH_GRADIENT)
def test_it_learns_an_update_that_pays_at_the_end_alone(name):
    problem = Updating(positions=6)
    paid = {"reward": "nll_minus_cost", "reward_kwargs": {"cost_weight": 0.3}}
    own = {"dataset": problem.split, "network": Smooth(), "episode": "sequence"}
    simulator = seeded(64, **own | paid)
    # From any weights it first updates everywhere, and half of the way it leaves out what is idle.
    agent = make_agent(name, simulator, learning_rate=0.2, target_density=0.5)
    agent.learn(64 * 160)
    verdict = ccenv.evaluate(simulator, agent, split="test", deterministic=True)
    marked = simulator.on_split("test", 64).data.images[:, :1] > 0.5
    # No update is right at 2 of 3 positions, and one of the two marks at 5 of 6.
    assert (verdict.masks[0] == marked).float().mean() > 0.95


# What costs nothing may be learned either way: of four seeds two end with no update at all.
@pytest.mark.parametrize("name", AGENTS_WITH_GRADIENT)
def test_it_learns_to_update_no_state_where_updates_cost_more_than_they_are_worth(name):
    simulator = simulator_of(rows=32, reward_kwargs={"cost_weight": 30.0})
    agent = make_agent(name, simulator, learning_rate=0.1, target_density=0.5)
    # Another seed begins with all updates or none: here it begins with nearly all.
    torch.nn.init.constant_(agent.scores.last(0).bias, 5.0)
    before = ccenv.evaluate(simulator, agent).density[0]
    agent.learn(32 * 40)
    assert simulator.network_version == 40
    assert ccenv.evaluate(simulator, agent).density[0] < 0.05 < 0.5 < before


class Forgets(SkipGRU):
    """Leaves states without their gradient."""

    def advance(self, hidden):
        carried = super().advance(hidden)
        return dataclasses.replace(carried, state=carried.state.detach())


NO_GRADIENT = {
    "a layer that leaves keys": {"network": "lm", "network_kwargs": OF_LM | {"gates": "layers"}},
    "exits": {"network": "lm", "network_kwargs": OF_LM | {"gates": "exits"}},
    "gates that ignore values": {"network": Counter(), "dataset": Updating(positions=3).split},
    "a state without gradient": {"network": Forgets},
}


@pytest.mark.parametrize("case", NO_GRADIENT)
def test_a_network_without_a_gradient_over_its_sequence_is_refused_in_one_line(case):
    settings = SETTINGS | {"network_kwargs": {}} | NO_GRADIENT[case]
    simulator = seeded(2, **settings | {"weights": "frozen" if "ignore" in case else "cotrain"})
    with pytest.raises(ValueError, match="take reinforce or rloo") as found:
        AGENTS["gumbel"](simulator)
    assert "\n" not in str(found.value)
    assert Rloo(seeded(2, **settings, group_size=2), sampling="independent")


def test_rewards_without_a_price_and_costs_with_memory_are_refused():
    with pytest.raises(ValueError, match="a reward with a term 'cost'"):
        AGENTS["gumbel"](simulator_of(reward="negative_nll", reward_kwargs={}))
    experts = {"network": "lm", "network_kwargs": OF_LM, "fast_memory": 1}
    with pytest.raises(ValueError, match="no costs with memory"):
        AGENTS["straight_through"](simulator_of(**experts))
