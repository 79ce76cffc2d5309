"""Laws of blockdrop, skipnet and pondernet: what each decides, and what its gradient is."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.agents.base import greedy_rewards
from ccenv.annexes.agents.blockdrop import BlockDrop
from ccenv.annexes.agents.pondernet import PonderNet, divergence, halting
from ccenv.annexes.agents.skipnet import SkipNet
from ccenv.networks.core.inference_copy import learning_norms
from ccenv.simulator.rollout import collect_rollout, walk
from tests.ccenv.episodes import seeded

UNITS = {"dataset": "probe", "network": "probe-residual", "reward": "blockdrop"}
PONDER = {
    "dataset": "digits",
    "network": "pondering",
    "network_kwargs": {"units": 8, "num_steps": 4, "loss_weight": 0.0},
    "weights": "cotrain",
}


simulator_of = functools.partial(seeded, 16, **UNITS)


def test_blockdrop_decides_once_and_its_coins_are_bounded():
    agent = BlockDrop(simulator_of(), alpha=0.8)
    with torch.no_grad():
        agent.scores.layers[0][-1].weight.zero_()
        agent.scores.layers[0][-1].bias.copy_(torch.tensor([99.0, -99.0, 0.0, 99.0]))
    observation = agent.simulator.begin()
    torch.testing.assert_close(
        agent.coins(observation).probability[0], torch.tensor([0.8, 0.2, 0.5, 0.8])
    )
    masks = [agent.act(observation, 0)]
    # What is seen later changes nothing.
    masks += [agent.act(torch.full_like(observation, torch.nan), gate) for gate in (1, 2, 3)]
    assert torch.cat(masks, dim=1)[:, [0, 1, 3]].tolist() == [[True, False, True]] * 16
    assert agent.keep_probability(observation, 1).shape == (16, 1)
    assert agent.policy_macs[1:] == [0, 0, 0]


def test_blockdrops_curriculum_keeps_the_first_units_and_learns_from_the_last():
    agent = BlockDrop(simulator_of(), curriculum_share=0.5, hidden_units=0)
    learned = []
    for agent.progress in (0.0, 0.13, 0.26, 0.4, 0.6):
        rollout = collect_rollout(agent.simulator, agent, agent.generator)
        before = agent.scores.layers[0][0].bias.detach().clone()
        agent.update(rollout)
        learned.append((agent.scores.layers[0][0].bias != before).sum().item())
        assert rollout.masks[: 4 - learned[-1]].all()
        # Adam's momentum moves what was learned before, and nothing else.
        assert learned[-1] == learned.index(learned[-1]) + 1 or learned[-1] == 4
    assert learned == [1, 2, 3, 4, 4]


def test_blockdrop_is_moved_by_what_beats_the_most_probable_masks():
    agent = BlockDrop(seeded(64, **UNITS), curriculum_share=0.0, entropy_weight=0.0, alpha=1.0)
    rollout = collect_rollout(agent.simulator, agent, agent.generator)
    indices = agent.simulator.indices
    _, _, steps = walk(agent.simulator.on_split("train", 64), agent, None, indices)
    expected = torch.stack([step.reward for step in steps]).sum(dim=0)
    torch.testing.assert_close(greedy_rewards(agent).sum(dim=0), expected)
    blocks = agent.coins(rollout.observations[0])
    masks = torch.cat(rollout.actions, dim=1)
    gain = (blocks.log_prob(masks) * (rollout.returns[0] - expected)).mean()
    assert agent.update(rollout)["loss"] == pytest.approx(-gain.item(), rel=1e-4)


def without_preferences(agent):
    """Every input is decided alike at first."""
    with torch.no_grad():
        for layer in agent.scores.layers:
            layer[-1].weight.zero_()
    return agent


def test_skipnet_learns_from_the_loss_by_hard_gates_and_then_from_returns_by_drawn_ones():
    agent = without_preferences(SkipNet(seeded(64, **UNITS), start_density=0.75))
    first = collect_rollout(agent.simulator, agent, agent.generator)
    # Every gate is likelier kept, so that nothing is drawn.
    assert first.masks.all()
    assert agent.update(first)["supervised"] == 1
    logits = walk(agent.simulator.on_split("train", 64), agent, None, agent.simulator.indices)
    loss = torch.nn.functional.cross_entropy(logits[2][-1].outcome.logits, first.labels)
    assert agent.down_the_loss(first).item() == pytest.approx(loss.item(), rel=1e-5)
    agent.progress = 0.5
    drawn = collect_rollout(agent.simulator, agent, agent.generator)
    assert 0.5 < drawn.masks.float().mean() < 0.95
    assert agent.update(drawn)["supervised"] == 0


def test_while_masks_are_drawn_norms_keep_their_statistics_which_learning_norms_would_move():
    residual = {"network": "resnet", "network_kwargs": {"depth": 8, "width": 4}}
    simulator = simulator_of(dataset="digits", weights="cotrain", reward="skipnet", **residual)
    norms = [m for m in simulator.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    weights = [parameter.detach().clone() for parameter in simulator.network.parameters()]

    def means_after(images):
        SkipNet(simulator, supervised_share=0.0).learn(images)
        return [norm.running_mean.clone() for norm in norms]

    assert not any(mean.any() for mean in means_after(48))
    changed = map(torch.equal, weights, simulator.network.parameters())
    assert not all(changed)
    with learning_norms(simulator.network):
        assert any(mean.any() for mean in means_after(48))


def test_skipnets_gate_has_a_gradient_of_the_task_where_its_block_is_skipped_too():
    agent = without_preferences(SkipNet(seeded(64, **UNITS), start_density=0.25))
    before = {name: tensor.clone() for name, tensor in agent.parameters().items()}
    rollout = collect_rollout(agent.simulator, agent, agent.generator)
    assert not rollout.masks.any()
    agent.update(rollout)
    assert all(not torch.equal(agent.parameters()[n], t) for n, t in before.items() if "bias" in n)


VALUES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8)


@given(values=VALUES, rate=st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None)
def test_halting_sums_to_one_and_lies_at_the_prior_where_every_value_is_its_rate(values, rate):
    p = halting(torch.tensor([values], dtype=torch.float64))
    prior = halting(torch.full((1, len(values)), rate, dtype=torch.float64))
    assert p.sum().item() == pytest.approx(1)
    assert (p >= 0).all()
    assert divergence(p, prior).item() >= -1e-9
    assert divergence(prior, prior).item() == 0
    geometric = [rate * (1 - rate) ** n for n in range(len(values))]
    assert prior[0].tolist() == pytest.approx([*geometric, 1 - sum(geometric)])


def test_the_known_values_of_halting():
    p = halting(torch.tensor([[0.5, 0.5, 0.5], [1.0, 0.3, 0.3], [0.0, 0.0, 0.0]]))
    assert p.tolist() == [[0.5, 0.25, 0.125, 0.125], [1, 0, 0, 0], [0, 0, 0, 1]]
    # All mass at step 1 against a prior that halts there with probability one half.
    assert divergence(p[1:2], p[:1]).item() == pytest.approx(0.6931472)


def test_pondernet_halts_as_often_as_it_says_and_its_network_learns_from_that_step():
    simulator = seeded(512, **PONDER)
    agent = PonderNet(simulator, prior_rate=0.3)
    rollout = collect_rollout(simulator, agent, agent.generator)
    values, losses = agent.all_steps()
    steps = 1 + torch.stack([action[:, 0] for action in rollout.actions]).cumprod(dim=0).sum(dim=0)
    often = torch.stack([(steps == n).float().mean() for n in (1, 2, 3, 4)])
    # Four standard deviations of a share of 512.
    torch.testing.assert_close(often, halting(values).mean(dim=0), atol=0.09, rtol=0)
    drawn = losses.gather(1, steps.long()[:, None] - 1).mean().item()
    assert rollout.nll.mean().item() == pytest.approx(drawn, rel=1e-4)
    assert simulator.update_network()["network_loss"] == pytest.approx(drawn, rel=1e-4)


def test_pondernets_gradient_is_that_of_the_expected_loss_and_the_divergence():
    simulator = seeded(**PONDER)
    agent = PonderNet(simulator, prior_rate=0.3, prior_weight=0.5)
    rollout = collect_rollout(simulator, agent, agent.generator)
    with torch.no_grad():
        agent.units.layers[0][0].bias.fill_(0.4)
    values, losses = agent.all_steps()
    # Step 1 against all that follows, by hand.
    rest = halting(values[:, 1:])
    h = values[:, 0].detach()
    prior = halting(torch.full((1, 3), 0.3))
    later = (rest * losses[:, 1:]).sum(dim=1)
    tail = divergence(rest, prior[:, 1:] / 0.7)
    slope = losses[:, 0] - later + 0.5 * ((h / 0.3).log() - ((1 - h) / 0.7).log() - tail)
    expected = (slope * h * (1 - h)).mean()
    agent.update(rollout)
    found = agent.units.layers[0][0].bias.grad
    torch.testing.assert_close(found, expected[None].detach(), rtol=1e-4, atol=1e-6)
