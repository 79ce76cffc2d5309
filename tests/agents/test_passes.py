"""Laws of several gradient steps on one rollout."""

import pytest
import torch

from ccenv.agents.losses import CLIP_RANGE, policy_gradient_loss
from ccenv.agents.passes import log_probs
from ccenv.agents.reinforce import Reinforce
from ccenv.simulator.rollout import collect_rollout
from tests.agents.probes import UNEVEN
from tests.ccenv.episodes import same_weights, seeded

SEQUENCE = {"dataset": "documents", "network": "documents", "episode": "sequence"}
SEQUENCE |= {"reward": "probability_minus_cost"}
GATES = {
    "dataset": "python_bundled@3",
    "network": "lm",
    "network_kwargs": {"depth": 2, "width": 4, "num_heads": 2, "ffn_width": 3, "num_experts": 2},
    "episode": "sequence",
    "weights": "cotrain",
}
"""Several gates at several positions."""


def drawn(settings, **own):
    simulator = seeded(8, **settings)
    agent = Reinforce(simulator, **own)
    return agent, collect_rollout(simulator, agent, agent.generator)


def test_at_the_policy_that_drew_the_gradient_is_that_of_one_step():
    log_prob = torch.tensor([-0.3, -2.0, -5.0], requires_grad=True)
    worth = torch.tensor([1.5, -0.5, 2.0])
    plain, clipped = (
        torch.autograd.grad(policy_gradient_loss(log_prob, worth, before), log_prob)[0]
        for before in (None, log_prob.detach())
    )
    torch.testing.assert_close(clipped, plain)


@pytest.mark.parametrize(("moved", "worth"), [(0.5, 1.0), (-0.5, -1.0)])
def test_what_has_moved_further_than_the_range_in_its_direction_gains_nothing(moved, worth):
    log_prob = torch.tensor([moved], requires_grad=True)
    found = policy_gradient_loss(log_prob, torch.tensor([worth]), torch.zeros(1))
    assert -found.item() == pytest.approx(worth * (1 + CLIP_RANGE * (1 if moved > 0 else -1)))
    assert torch.autograd.grad(found, log_prob)[0] == 0


@pytest.mark.parametrize("settings", [UNEVEN, SEQUENCE, GATES])
@pytest.mark.parametrize("num_kept", [None, 1])
def test_log_probabilities_of_a_rollout_are_those_of_its_steps_in_turn(settings, num_kept):
    agent, rollout = drawn(settings, num_kept=num_kept)
    found = log_probs(agent, rollout)
    for step, (seen, action) in enumerate(zip(rollout.observations, rollout.actions, strict=True)):
        blocks = agent.distribution(seen, step % rollout.num_layers)
        torch.testing.assert_close(found[step], blocks.log_prob(action))


@pytest.mark.parametrize("settings", [UNEVEN, SEQUENCE, GATES])
def test_rows_of_a_rollout_are_its_episodes_with_all_that_belongs_to_them(settings):
    _, rollout = drawn(settings)
    rows = torch.tensor([5, 2])
    some = rollout.of_rows(rows)
    for name in ("observations", "masks", "rewards", "costs", "returns"):
        assert torch.equal(getattr(some, name), getattr(rollout, name)[:, rows])
    for name in ("correct", "nll", "compute_cost", "labels"):
        assert torch.equal(getattr(some, name), getattr(rollout, name)[rows])
    for one, whole in zip(some.actions, rollout.actions, strict=True):
        assert torch.equal(one, whole[rows])


@pytest.mark.parametrize("settings", [UNEVEN, SEQUENCE, GATES])
@pytest.mark.parametrize("num_kept", [None, 1])
def test_every_pass_takes_every_episode_once_with_what_belongs_to_it(settings, num_kept):
    agent, rollout = drawn(settings, num_kept=num_kept, num_epochs=2, num_minibatches=3)
    parts = list(agent.passes.over(agent, rollout, rollout.returns))
    assert len(parts) == 6
    for taken in (parts[:3], parts[3:]):
        first = [part.observations[0] for part, _, _ in taken]
        assert torch.equal(torch.cat(first).sort(dim=0)[0], rollout.observations[0].sort(dim=0)[0])
    for part, returns, before in parts:
        assert torch.equal(part.returns, returns)
        torch.testing.assert_close(log_probs(agent, part), before)


@pytest.mark.parametrize("settings", [UNEVEN, SEQUENCE])
@pytest.mark.parametrize("epochs", [1, 4])
def test_updates_say_how_far_they_move_the_policy_and_how_much_is_clipped_where_it_is(
    settings, epochs
):
    agent, _ = drawn(settings, num_epochs=epochs, learning_rate=0.1)
    heard = []
    agent.learn(8 * 5, lambda _, scalars: heard.append(scalars))
    assert len(heard) == 5
    assert all(scalars["agent/approx_kl"] > 0 for scalars in heard)
    shares = [scalars.get("agent/clip_fraction") for scalars in heard]
    assert shares == [None] * 5 if epochs == 1 else max(shares) > 0
    if epochs == 4:
        assert all(0 <= share <= 1 for share in shares)


def test_a_look_at_the_policy_changes_nothing_that_is_learned():
    watched, alone = (drawn(UNEVEN)[0] for _ in range(2))
    watched.learn(40, lambda *_: None)
    alone.learn(40)
    assert same_weights(watched.scores, alone.scores)
