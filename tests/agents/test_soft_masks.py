"""Laws of masks trained by back-propagation, of rloo's options, and of blocks always kept."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from probes import EXPERTS, UNEVEN, make_agent

from ccenv.agents.advantages import leave_one_out, normalised
from ccenv.agents.base import greedy_rewards
from ccenv.agents.distributions import AlwaysOn, IndependentBlocks, OrderedBlocks
from ccenv.agents.reference_policies import BlockDropout
from ccenv.annexes.agents.straight_through import straight_through
from ccenv.annexes.agents.straight_through_ops import load_balance, soft_masked_logits
from ccenv.annexes.agents.topk import TopK, balanced_plan, weighted_masks, within_capacity
from ccenv.base.masks import as_mask, random_mask
from ccenv.base.seeding import stream
from ccenv.networks.core.mlp import GatedMLP
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import collect_rollout, walk
from tests.ccenv.episodes import seeded


def small_network():
    torch.manual_seed(0)
    return GatedMLP(6, (3, 5), (4, 2), 3, "tanh", head_units=(4,))


def small_batch(seed):
    generator = stream(seed, "gates")
    masks = [random_mask(7, n, 0.5, generator) for n in (3, 5)]
    return torch.rand(7, 6, generator=generator), masks


@given(seed=st.integers(0, 100))
def test_logits_under_soft_masks_are_those_under_their_masks(seed):
    network, (images, masks) = small_network(), small_batch(seed)
    expected = network(images, masks, backend="reference")
    soft_masks = [mask.float() for mask in masks]
    torch.testing.assert_close(soft_masked_logits(network, images, soft_masks), expected)
    torch.testing.assert_close(soft_masked_logits(network, images, soft_masks, masks), expected)
    with pytest.raises(ValueError, match="every one of 2 gates"):
        soft_masked_logits(network, images, soft_masks[:1])


def test_a_soft_masks_gradient_is_the_slope_of_the_loss_in_it_also_where_it_is_zero():
    network, (images, masks) = small_network().double(), small_batch(1)
    soft_masks = [mask.double().requires_grad_() for mask in masks]

    def total(first, second):
        return soft_masked_logits(network, images.double(), [first, second]).square().sum()

    assert not all(mask.all() for mask in masks)
    assert torch.autograd.gradcheck(total, soft_masks)


@given(
    scores=st.lists(st.floats(-3, 3), min_size=5, max_size=5),
    kept=st.sets(st.integers(0, 4), min_size=1, max_size=4),
)
def test_the_soft_mask_of_a_mask_is_the_mask_whatever_its_gradient(scores, kept):
    mask = torch.tensor([[block in kept for block in range(5)]])
    row = torch.tensor([scores])
    for soft_mask in (
        straight_through(mask, row.sigmoid()),
        weighted_masks(row, mask),
    ):
        assert torch.equal(soft_mask, mask.float())


def test_the_gradient_of_a_weighted_mask_is_its_weights_over_its_weight():
    scores = torch.tensor([[0.3, -0.2, 1.0]], requires_grad=True)
    mask = torch.tensor([[True, False, True]])
    weights = scores.softmax(dim=1)
    (expected,) = torch.autograd.grad(weights[0, 0] / weights[0, 0].item(), scores)
    soft_mask = weighted_masks(scores, mask)[0, 0]
    torch.testing.assert_close(torch.autograd.grad(soft_mask, scores)[0], expected)


def test_load_balance_is_one_for_even_use_and_n_where_one_block_does_all():
    even = torch.eye(4, dtype=torch.bool)
    assert load_balance(torch.zeros(4, 4), even).item() == pytest.approx(1)
    one = torch.tensor([[True, False, False, False]]).expand(4, -1)
    scores = torch.tensor([[30.0, 0, 0, 0]]).expand(4, -1)
    assert load_balance(scores, one).item() == pytest.approx(4)


def test_a_threshold_keeps_the_same_blocks_sampled_or_not():
    agent = make_agent("straight_through", rows=16, sampling="threshold")
    observation = agent.simulator.begin()
    assert torch.equal(agent.act(observation, 0, agent.generator), agent.act(observation, 0))


def test_the_noise_of_top_k_ends_before_training_does():
    agent = make_agent("topk", rows=64, num_kept=1)
    observation, agent.progress = agent.simulator.begin(), 0.6
    training, greedy = (
        as_mask(agent.act(observation, 0, draws), 4) for draws in (agent.generator, None)
    )
    assert torch.equal(training, greedy)


DIGITS = UNEVEN | {"dataset": "digits", "num_blocks": (6, 4), "block_size": 4}


@pytest.mark.parametrize("num_kept", [None, 2])
def test_all_dynamic_gates_learn_from_the_task(num_kept):
    own = {"num_kept": num_kept, "usage_weight": 0.0}
    agent = make_agent("dynamic_gate", 32, env_settings=DIGITS, **own)
    agent.update(collect_rollout(agent.simulator, agent, agent.generator))
    assert all((layer[-1].bias.grad != 0).all() for layer in agent.scores.layers)


def test_a_price_of_usage_closes_gates_and_without_one_the_task_opens_some():
    density, error = {}, {}
    for weight in (0.0, 20.0):
        own = {"usage_weight": weight, "learning_rate": 0.02}
        agent = make_agent("dynamic_gate", 64, env_settings=DIGITS, **own)
        agent.learn(64 * 100)
        found = evaluate(agent.env, agent)
        density[weight], error[weight] = sum(found.density) / 2, found.error
    assert density[20.0] < 0.1 < 0.5 < density[0.0]
    assert error[0.0] < 0.25 < error[20.0]


def router(rows=32, **settings):
    return TopK(
        seeded(rows, **EXPERTS), **{"num_kept": 1, "noise": 0.0, "balance_weight": 0.0} | settings
    )


def test_one_kept_block_scaled_by_its_weight_gives_the_router_the_gradient_of_the_formula():
    agent = router(scaled=True)
    rollout = collect_rollout(agent.simulator, agent, agent.generator)
    (gates,), (mask,) = rollout.actions, rollout.masks
    weights = agent.scores(rollout.observations[0], 0).softmax(dim=1).detach()
    torch.testing.assert_close(gates, weights * mask)
    assert torch.equal(mask, weights == weights.amax(dim=1, keepdim=True))
    state, leaf = agent.simulator.state, gates.clone().requires_grad_()
    logits = soft_masked_logits(agent.simulator.network, state.images_by_row, [leaf], [mask])
    loss = torch.nn.functional.cross_entropy(logits, state.labels)
    slope = (torch.autograd.grad(loss, leaf)[0] * mask).sum(dim=1, keepdim=True)
    # Of p_c in score j: p_c ((j is c) - p_j).
    expected = (slope * gates.sum(dim=1, keepdim=True) * (mask.float() - weights)).sum(dim=0)
    assert agent.update(rollout)["loss"] == pytest.approx(loss.item(), rel=1e-5)
    gradient = agent.scores.last(0).bias.grad
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)
    assert gradient.abs().max() > 1e-5


@given(kept=st.lists(st.integers(0, 2), min_size=3, max_size=12), capacity=st.floats(1.0, 3.0))
def test_a_block_takes_its_first_rows_up_to_its_capacity(kept, capacity):
    mask = torch.nn.functional.one_hot(torch.tensor(kept), 3).bool()
    taken, most = within_capacity(mask, capacity), int(capacity * len(kept) / 3)
    for block in range(3):
        rows = [row for row, number in enumerate(kept) if number == block]
        assert taken[:, block].nonzero().flatten().tolist() == rows[:most]


@pytest.mark.parametrize("scaled", [False, True])
def test_capacity_drops_rows_in_training_only_and_balances_by_what_was_chosen(scaled):
    agent = router(scaled=scaled, capacity=1.0, balance_weight=1.0)
    layer = agent.scores.last(0)
    seen = agent.simulator.on_split("train", 256).begin(torch.arange(256))
    # About a quarter of the rows choose the first block, all others the second.
    with torch.no_grad():
        layer.weight[1:], layer.bias[0] = 0, 0
        layer.bias.copy_(torch.tensor([-agent.scores(seen, 0)[:, 0].quantile(0.75), 0, -1, -1]))
    rollout = collect_rollout(agent.simulator, agent, agent.generator)
    scores = agent.scores(rollout.observations[0], 0)
    chosen = torch.nn.functional.one_hot(scores.argmax(dim=1), 4).bool()
    assert torch.equal(rollout.masks[0], within_capacity(chosen, 1.0))
    assert rollout.masks[0, :, 1].sum() == 8 < chosen[:, 1].sum() < 32
    shares = chosen.float().mean(dim=0) * scores.softmax(dim=1).mean(dim=0)
    assert agent.update(rollout)["balance"] == pytest.approx(4 * shares.sum().item(), rel=1e-5)
    assert agent.simulator.update_network()["network_loss"] == pytest.approx(
        float(rollout.nll.mean()), rel=1e-5
    )
    assert evaluate(agent.simulator, agent, deterministic=True).density == (0.25,)


def test_rows_far_from_all_others_make_a_plan_of_equal_loads():
    wanted = torch.tensor([0] * 6 + [1] * 2)
    # The more a row prefers the first block, the sooner it has it.
    scores = torch.nn.functional.one_hot(wanted, 2) * torch.arange(8, 0, -1)[:, None] * 4.0
    assert balanced_plan(scores).argmax(dim=1).tolist() == [0] * 4 + [1] * 4


def test_assignment_is_balanced_in_training_and_by_scores_of_each_row_alone_in_use():
    agent = router(assignment="sinkhorn", scaled=True, capacity=1.25)
    with torch.no_grad():
        agent.scores.last(0).bias[1] = 5.0
    observation = agent.simulator.begin()
    in_use, alone = agent.act(observation, 0), agent.act(observation[3:4], 0)
    assert (in_use[:, 1] > 0).all()
    torch.testing.assert_close(alone, in_use[3:4])
    trained = agent.act(observation, 0, agent.generator)
    assert ((trained > 0).sum(dim=0) >= 5).all()
    weights = agent.scores(observation, 0).softmax(dim=1)
    torch.testing.assert_close(trained, weights * (trained > 0))


blocks_of_three = st.lists(st.floats(-2, 2), min_size=3, max_size=3)


@given(scores=blocks_of_three, num_always=st.integers(0, 2), seed=st.integers(0, 50))
def test_shared_blocks_are_kept_and_the_others_are_drawn_as_without_them(scores, num_always, seed):
    row = torch.tensor([scores])
    for rest in (OrderedBlocks(row, 2), IndependentBlocks(row.sigmoid())):
        whole = AlwaysOn(rest, num_always)
        for drawn, alone in (
            (whole.sample(stream(seed, "x")), rest.sample(stream(seed, "x"))),
            (whole.mode(), rest.mode()),
        ):
            mask = as_mask(drawn, 3 + num_always)
            assert mask[:, :num_always].all()
            assert torch.equal(mask[:, num_always:], as_mask(alone, 3))
            assert torch.equal(whole.log_prob(drawn), rest.log_prob(alone))


@pytest.mark.parametrize("sampling", ["ordered", "independent"])
def test_an_agent_with_a_shared_block_keeps_it_for_every_image(sampling):
    agent = make_agent("rloo", rows=16, num_kept=2, shared_blocks=1, sampling=sampling)
    agent.learn(64)
    found = evaluate(agent.env, agent, split="validation")
    assert all(mask[:, 0].all() for mask in found.masks)
    assert not all(mask.all() for mask in found.masks)


@given(returns=st.lists(st.floats(-5, 5), min_size=8, max_size=8))
def test_normalised_advantages_point_the_way_of_leave_one_out(returns):
    values = torch.tensor(returns)
    one, other = (compare(values, 4).view(2, 4) for compare in (leave_one_out, normalised))
    assert (one * other >= -1e-4).all()
    for row, raw in zip(other, values.view(2, 4), strict=True):
        if raw.std() > 0.01:
            assert row.std().item() == pytest.approx(1, abs=1e-3)


def test_the_self_critical_baseline_is_the_return_of_the_most_probable_masks():
    agent = make_agent("rloo", rows=16, num_kept=1, advantage="self_critical")
    rollout = collect_rollout(agent.simulator, agent, agent.generator)
    baseline = greedy_rewards(agent).flip(0).cumsum(0).flip(0)
    images = agent.simulator.indices
    _, _, steps = walk(agent.simulator, agent, None, images[:: agent.group_size])
    rewards = torch.stack([step.reward for step in steps])
    torch.testing.assert_close(baseline[0], rewards.sum(dim=0))
    torch.testing.assert_close(baseline[1], rewards[1])
    assert baseline.shape == rollout.returns.shape


def test_the_number_kept_falls_from_all_to_k_in_training_and_is_k_when_judged():
    agent = make_agent("rloo", rows=4, num_kept=1, dense_share=0.25, anneal_share=0.5)
    observation = agent.simulator.begin()
    found = []
    for agent.progress in (0.0, 0.24, 0.25, 0.6, 0.75, 1.0):
        found.append(agent.act(observation, 0, agent.generator).shape[1])
        assert agent.act(observation, 0, stream(0, "x")).shape[1] == 1
    assert found == [4, 4, 4, 2, 1, 1]


def test_while_every_block_is_kept_the_policy_learns_nothing_but_the_bonus():
    agent = make_agent("rloo", rows=8, num_kept=1, dense_share=1.0, diversity_weight=0.0)
    before = [p.clone() for p in agent.scores.parameters()]
    agent.learn(8 * 4)
    after = agent.scores.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("num_kept", [1, 2])
def test_perturbed_draws_change_the_wanted_share_of_all_but_the_first_mask(num_kept):
    agent = make_agent("rloo", 500, num_kept=num_kept, sampling="perturbed", perturbed_share=0.3)
    observation = agent.simulator.begin()
    greedy = as_mask(agent.act(observation, 0), 4)
    assert torch.equal(as_mask(agent.act(observation, 0, stream(0, "x")), 4), greedy)
    drawn = as_mask(agent.act(observation, 0, agent.generator), 4)
    differs = (drawn != greedy).sum(dim=1).view(-1, agent.group_size)
    assert (drawn.sum(dim=1) == num_kept).all()
    assert not differs[:, 0].any()
    assert set(differs.unique().tolist()) == {0, 2}
    # Four standard deviations of a share of 3,500 rows.
    assert (differs[:, 1:] > 0).float().mean().item() == pytest.approx(0.3, abs=0.031)
    swapped = (drawn & ~greedy).view(-1, agent.group_size, 4)[:, 1:].sum(dim=(0, 1))
    assert (swapped > 0).sum() >= 4 - num_kept


@pytest.mark.parametrize("gap", [1.0, -1.0])
def test_a_changed_decision_becomes_more_probable_where_its_return_is_above_the_greedy_one(gap):
    agent = make_agent(
        "rloo", 32, num_kept=1, sampling="perturbed", perturbed_share=0.5, diversity_weight=0.0
    )
    rollout = collect_rollout(agent.simulator, agent, agent.generator)
    returns = torch.full_like(rollout.returns, gap)
    returns[:, :: agent.group_size] = 0.0
    expected = []
    for seen, action in zip(rollout.observations, rollout.actions, strict=True):
        blocks = agent.distribution(seen, len(expected))
        changed = (action != blocks.mode()).any(dim=1)
        scores = agent.scores.last(len(expected)).bias
        # Of the expected gap: a decision's probability over that of its draw, one of three swaps.
        gaps = gap * changed * 3 * blocks.log_prob(action).exp()
        (gradient,) = torch.autograd.grad(-gaps.mean(), scores)
        expected.append(gradient)
    agent.update(dataclasses.replace(rollout, returns=returns))
    for layer, gradient in enumerate(expected):
        torch.testing.assert_close(agent.scores.last(layer).bias.grad, gradient)
        assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize("perturbed_teach", [False, True])
def test_a_network_learns_from_greedy_masks_alone_unless_changed_ones_teach_too(
    perturbed_teach, monkeypatch
):
    agent = make_agent(
        "rloo",
        8,
        env_settings=UNEVEN | {"group_size": 2},
        num_kept=1,
        sampling="perturbed",
        perturbed_share=1.0,
        perturbed_teach=perturbed_teach,
    )
    rollouts, losses, update = [], [], agent.update
    monkeypatch.setattr(agent, "update", lambda one: rollouts.append(one) or update(one))
    agent.learn(8, lambda _, scalars: losses.append(scalars["agent/network_loss"]))
    nll = rollouts[0].nll.view(8, 2)
    expected = nll.mean() if perturbed_teach else nll[:, 0].mean()
    assert losses == pytest.approx([float(expected)], rel=1e-5)
    assert not torch.allclose(nll[:, 0], nll[:, 1])


@pytest.mark.parametrize("concurrent", [None, "unsafe"])
def test_which_rows_teach_belongs_to_the_batch_and_not_to_the_next_agent(concurrent, monkeypatch):
    settings = UNEVEN | {"group_size": 2, "concurrent": concurrent}
    own = {"num_kept": 1, "sampling": "perturbed"}
    first = make_agent("rloo", 8, env_settings=settings, **own)
    simulator, taught = first.simulator, []
    later = BlockDropout(simulator)
    loss = simulator.trainer.loss
    monkeypatch.setattr(
        simulator.trainer,
        "loss",
        lambda *given: taught.append((len(given[1]), len(given[2][0]))) or loss(*given),
    )
    first.learn(2 * 8)
    for _ in range(2):
        collect_rollout(simulator, later, later.generator)
        simulator.update_network()
    # An update that lands between gates of a later episode is that of the batch before.
    waits = concurrent is not None
    assert taught == [(8, 8), (8, 8), (16, 16), (16, 16)][: 4 - waits]
