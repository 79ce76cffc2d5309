"""Rewards that remember: when they may change, what restores them, and what they converge to."""

import types
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.base.masks import full_mask
from ccenv.base.seeding import stream
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.rewards import StatefulReward, make_reward
from ccenv.rewards.lagrangian import Lagrangian, PidLagrangian, relative_excess
from ccenv.rewards.latency import TimeTable, numbers_kept, time_table, times_fingerprint
from ccenv.rewards.potential import fit_probe
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.simulator import Simulator
from tests.ccenv import episodes

SIZES = {"num_blocks": (4, 3), "block_size": 4}
PRICED = ["lagrangian", "pid_lagrangian"]


@pytest.fixture(scope="module")
def network():
    return build_network(GatedMLP, 0, in_features=64, **SIZES)


def seeded(network, reward, rows=16, **reward_kwargs):
    return episodes.seeded(rows, network=network, reward=reward, reward_kwargs=reward_kwargs)


def play(simulator, episodes=1, share=0.5, seed=0):
    """Steps of some episodes under random masks."""
    generator, steps = stream(seed, "test masks"), []
    for _ in range(episodes):
        simulator.begin()
        for n in simulator.num_blocks:
            mask = torch.rand(simulator.num_images, n, generator=generator) < share
            steps.append(simulator.step(mask))
    return steps


def finished(*costs):
    """What a reward is told at the end of episodes that cost so much."""
    return types.SimpleNamespace(is_last=True, compute_cost=torch.tensor(costs))


def prices(steps):
    return [step.numbers["price"] for step in steps]


@pytest.mark.parametrize("name", PRICED)
def test_a_price_moves_only_between_episodes_and_only_when_enough_have_ended(network, name):
    simulator = seeded(network, name, rows=16, cost_limit=0.1, update_every=32)
    found = prices(play(simulator, episodes=6))
    assert found[::2] == found[1::2]
    by_episode = found[::2]
    assert by_episode[0] == by_episode[1] == 0
    assert by_episode[2] == by_episode[3] > 0
    assert by_episode[4] == by_episode[5] > by_episode[3]


@pytest.mark.parametrize("name", PRICED)
def test_episodes_that_are_broken_off_do_not_count(network, name):
    simulator = seeded(network, name, rows=4, cost_limit=0.1, update_every=4)
    for _ in range(5):
        simulator.begin()
        simulator.step(full_mask(4, 4))
    assert simulator.reward.rule.price == 0


@pytest.mark.parametrize("name", [*PRICED, "target_density"])
def test_a_seeded_reset_restores_what_a_reward_remembered(network, name):
    simulator = seeded(network, name, update_every=16)

    def rewards():
        simulator.seed(3)
        return torch.stack([step.reward for step in play(simulator, episodes=4, share=0.9)])

    first = rewards()
    assert torch.equal(first, rewards())


@pytest.mark.parametrize("name", [*PRICED, "target_density"])
def test_evaluation_reads_the_memory_and_never_changes_it(network, name):
    simulator = seeded(network, name, update_every=16)
    play(simulator, episodes=3, share=0.9)
    before = simulator.reward.rule.numbers()
    policy = types.SimpleNamespace(
        policy_macs=[0, 0],
        act=lambda x, layer, generator: full_mask(len(x), SIZES["num_blocks"][layer]),
    )
    held = simulator.on_split("test", 50)
    evaluate(simulator, policy)
    assert simulator.reward.rule.numbers() == before
    # What the copy pays by is the price of the moment.
    play(simulator, episodes=3, share=0.9)
    assert held.reward.rule.numbers() == simulator.reward.rule.numbers() != before


@pytest.mark.parametrize("name", [*PRICED, "target_density"])
def test_one_image_at_a_time_moves_the_memory_as_a_batch_does(network, name):
    batch = seeded(network, name, rows=8, update_every=8)
    alone = seeded(network, name, rows=1, update_every=8)
    batch.begin(torch.arange(8))
    generator = stream(0, "test masks")
    masks = [torch.rand(8, n, generator=generator) < 0.7 for n in (4, 3)]
    for mask in masks:
        batch.step(mask)
    for image in range(8):
        alone.begin(torch.tensor([image]))
        for mask in masks:
            alone.step(mask[image : image + 1])
    expected = batch.reward.rule.numbers()
    assert alone.reward.rule.numbers() == pytest.approx(expected, rel=1e-5)
    assert any(expected.values())


@given(costs=st.lists(st.floats(0, 1), min_size=1, max_size=40), limit=st.floats(0.05, 1))
@settings(max_examples=30)
def test_a_pid_controller_with_the_integral_alone_is_dual_ascent(costs, limit):
    plain = Lagrangian(limit, price_learning_rate=0.3, update_every=1)
    integral = PidLagrangian(
        limit, proportional_gain=0, integral_gain=0.3, derivative_gain=0, update_every=1
    )
    for cost in costs:
        plain.update(finished(cost))
        integral.update(finished(cost))
        assert integral.price == pytest.approx(plain.price, rel=1e-9, abs=1e-12)
        assert plain.price >= 0


@given(
    costs=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40),
    limit=st.floats(0.05, 1),
    gain=st.floats(0, 5),
)
def test_a_derivative_gain_raises_the_price_while_the_excess_rises_and_never_lowers_it(
    costs, limit, gain
):
    plain, damped = (
        PidLagrangian(limit, 0.0, derivative_gain=one, smoothing=0.0, update_every=1)
        for one in (0.0, gain)
    )
    before = 0.0
    for cost in costs:
        plain.update(finished(cost))
        damped.update(finished(cost))
        excess = relative_excess(cost, limit)
        rise, before = max(0.0, excess - before), excess
        added = gain * rise * (plain.price + plain.price_scale)
        assert damped.price == pytest.approx(plain.price + added)


@given(
    costs=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    limit=st.floats(0.05, 1),
    weight=st.floats(0, 5),
)
def test_a_quadratic_term_adds_to_the_price_what_is_in_excess_and_nothing_at_the_limit(
    costs, limit, weight
):
    plain = Lagrangian(limit, update_every=1)
    stiff = Lagrangian(limit, update_every=1, quadratic_weight=weight, smoothing=0.5)
    mean = 0.0
    for cost in [*costs, *[limit] * 30]:
        plain.update(finished(cost))
        stiff.update(finished(cost))
        mean = (mean + min(1.0, cost / limit - 1)) / 2
        # Costs are float32.
        assert stiff.price == pytest.approx(max(0.0, plain.price + weight * mean), abs=1e-4)
    assert stiff.price == pytest.approx(plain.price, abs=1e-4)
    stiff.reset()
    assert stiff.price == 0


@pytest.mark.parametrize("kind", [Lagrangian, PidLagrangian])
@given(limit=st.floats(0.1, 0.9), half=st.floats(0.01, 3.0))
@settings(max_examples=5, deadline=None)
def test_the_price_meets_the_limit_where_a_price_lowers_the_cost(kind, limit, half):
    rule, cost = kind(limit, update_every=1), 1.0
    for _ in range(4000):
        # A policy that follows the price slowly: to the whole cost at no price, half of it at
        # the price `half`.
        cost += 0.02 * (half / (half + rule.price) - cost)
        rule.update(finished(cost))
    assert cost == pytest.approx(limit, rel=0.02)


@pytest.mark.parametrize("kind", [Lagrangian, PidLagrangian])
@given(limit=st.floats(0.2, 1), share=st.floats(0, 0.95), initial=st.floats(0, 5))
@settings(max_examples=5, deadline=None)
def test_a_limit_above_the_unconstrained_cost_drives_the_price_to_zero(kind, limit, share, initial):
    rule = kind(limit, initial_price=initial, update_every=1)
    for _ in range(3000):
        rule.update(finished(share * limit))
    assert rule.price == 0


@given(seeds=st.tuples(st.integers(0, 50), st.integers(0, 50)), share=st.floats(0, 1))
@settings(max_examples=4, deadline=None)
def test_the_potential_sums_to_what_the_image_alone_decides(network, seeds, share):
    simulator = seeded(network, "potential", num_fit_images=200)
    images, sums = torch.arange(16), []
    for seed in seeds:
        generator = stream(seed, "test masks")
        simulator.begin(images)
        steps = [simulator.step(torch.rand(16, n, generator=generator) < share) for n in (4, 3)]
        sums.append(sum(step.terms["potential"] for step in steps))
        plain = sum(step.terms["accuracy"] + step.terms["cost"] for step in steps)
        torch.testing.assert_close(sum(step.reward for step in steps) - plain, sums[-1])
    start = simulator.reward.rule.potential(steps[0].outcome.before)
    torch.testing.assert_close(sums[0], sums[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sums[0], -start, atol=1e-5, rtol=1e-4)


def test_probes_are_the_same_for_the_same_seed_and_know_the_label(network):
    rules = [seeded(network, "potential", num_fit_images=300).reward.rule for _ in range(2)]
    for one, other in zip(rules[0].probes, rules[1].probes, strict=True):
        assert torch.equal(one.weight, other.weight)
    other_seed = seeded(network, "potential", num_fit_images=300, seed=1).reward.rule
    assert not torch.equal(rules[0].probes[0].weight, other_seed.probes[0].weight)
    simulator = episodes.seeded(500, network=network, reward="potential", split="test")
    simulator.begin()
    # Better than a guess among ten classes, in nats.
    assert simulator.reward.rule.potential(simulator.state).mean() > -0.7


def test_a_probe_is_the_logistic_regression_with_no_slope_left():
    generator = stream(0, "test")
    features, labels = torch.randn(60, 5, generator=generator), torch.arange(60) % 3
    probe = fit_probe(features, labels, 3).requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(probe(features), labels)
    (loss + 1e-3 * probe.weight.square().sum()).backward()
    assert probe.weight.grad.abs().max() < 1e-3


def test_probes_follow_the_initial_weights_of_each_seed_in_cotraining():
    simulator = Simulator(4, reward="potential", weights="cotrain", **SIZES)

    def second_probe(seed):
        simulator.seed(seed)
        return simulator.reward.rule.probes[1].weight.clone()

    assert torch.equal(second_probe(0), second_probe(0))
    assert not torch.equal(second_probe(0), second_probe(1))


@given(seed=st.integers(0, 50), share=st.floats(0.1, 0.9), target=st.floats(0, 1))
@settings(max_examples=15, deadline=None)
def test_target_density_charges_the_papers_losses(network, seed, share, target):
    simulator = seeded(
        network, "target_density", target_density=target, update_every=16, update_rate=1.0
    )
    first = play(simulator, share=share, seed=seed)
    assert all(step.terms["blocks"].abs().max() == 0 for step in first)
    # With the same masks again, the use is the batch's own: the mean charge is L_b itself.
    for step in play(simulator, share=share, seed=seed):
        mask = step.outcome.mask.float()
        blocks = (mask.mean(dim=0) - target).square().sum()
        images = (mask.mean(dim=1) - target).square()
        torch.testing.assert_close(-step.terms["blocks"].mean(), blocks, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(-step.terms["images"], images)


def test_the_slope_of_the_charge_for_a_block_is_that_of_the_papers_loss(network):
    simulator = seeded(network, "target_density", update_every=16, update_rate=1.0)
    outcome = play(simulator, share=0.8)[0].outcome
    used = outcome.mask.float().mean(dim=0)
    one = torch.zeros(16, 4, dtype=torch.bool)
    one[:, 0] = True
    charges = []
    for mask in (torch.zeros_like(one), one):
        # Broken off after one layer: the use stays where it is.
        simulator.begin()
        charges.append(simulator.step(mask).terms["blocks"])
    # One whole block more changes the charge by twice its distance from the target.
    slope = (2 * (used[0] - 0.25)).expand(16)
    torch.testing.assert_close(charges[0] - charges[1], slope, atol=1e-5, rtol=1e-4)


def test_times_are_measured_once_on_a_machine(network):
    first, second = (time_table(network, torch.rand(8, network.in_features)) for _ in range(2))
    for one, other in zip(first.shares, second.shares, strict=True):
        assert torch.equal(one, other)
        assert (one > 0).all()
        assert one.isfinite().all()


def test_times_are_those_of_the_kernels_that_are_there(network, monkeypatch):
    inputs, read = torch.rand(8, network.in_features), Path.read_bytes
    before = times_fingerprint(network, inputs)
    assert times_fingerprint(network, inputs) == before

    def changed(path):
        return read(path) + b"#" * path.match("cpu/kernels.py")

    monkeypatch.setattr(Path, "read_bytes", changed)
    assert times_fingerprint(network, inputs) != before


@given(before=st.integers(0, 12), kept=st.integers(0, 9))
def test_times_between_grid_points_are_read_on_the_straight_line(before, kept):
    rows, columns = torch.tensor(numbers_kept(12)), torch.tensor(numbers_kept(9))
    plane = 2.0 * rows[:, None] + columns + 1.0
    table = TimeTable((rows,), (columns,), (plane,))
    in_mask, out_mask = torch.arange(12)[None] < before, torch.arange(9)[None] < kept
    assert table.share(0, in_mask, out_mask).item() == pytest.approx(2 * before + kept + 1)


def test_a_class_of_ones_own_remembers_too(network):
    class Novelty(StatefulReward):
        """Pays less for every episode that has ended."""

        def reset(self):
            self.seen = 0

        def __call__(self, outcome):
            return torch.full_like(outcome.layer_cost, 1 / (1 + self.seen))

        def update(self, outcome):
            self.seen += outcome.is_last

        def numbers(self):
            return {"seen": float(self.seen)}

    simulator = Simulator(2, network=network, reward=Novelty)
    for _ in range(2):
        simulator.seed(0)
        steps = play(simulator, episodes=2)
        assert [step.reward[0].item() for step in steps] == [1.0, 1.0, 0.5, 0.5]
        assert [step.numbers["seen"] for step in steps] == [0, 0, 1, 1]
    assert make_reward(Novelty).name == "Novelty"


def test_the_earlier_name_of_update_is_refused():
    with pytest.raises(TypeError, match="learn in update"):
        type("Mine", (StatefulReward,), {"observe": lambda self, outcome: None})
