"""Laws of several gradient steps on one rollout."""

import pytest
import torch

from ccenv.agents.passes import CLIP_RANGE, log_probs, objective
from ccenv.agents.reinforce import Reinforce
from ccenv.simulator.rollout import collect_rollout
from ccenv.simulator.simulator import Simulator
from tests.agents.probes import UNEVEN

SEQUENCE = {"dataset": "documents", "network": "documents", "episode": "sequence"}
SEQUENCE |= {"reward": "probability_minus_cost"}


def drawn(settings, **own):
    simulator = Simulator(8, **settings)
    simulator.seed(0)
    agent = Reinforce(simulator, **own)
    return agent, collect_rollout(simulator, agent, agent.generator)


def test_at_the_policy_that_drew_the_gradient_is_that_of_one_step():
    log_prob = torch.tensor([-0.3, -2.0, -5.0], requires_grad=True)
    worth = torch.tensor([1.5, -0.5, 2.0])
    plain, clipped = (
        torch.autograd.grad(objective(log_prob, worth, before).sum(), log_prob)[0]
        for before in (None, log_prob.detach())
    )
    torch.testing.assert_close(clipped, plain)


@pytest.mark.parametrize(("moved", "worth"), [(0.5, 1.0), (-0.5, -1.0)])
def test_what_has_moved_further_than_the_range_in_its_direction_gains_nothing(moved, worth):
    log_prob = torch.tensor([moved], requires_grad=True)
    found = objective(log_prob, torch.tensor([worth]), torch.zeros(1))
    assert found.item() == pytest.approx(worth * (1 + CLIP_RANGE * (1 if moved > 0 else -1)))
    assert torch.autograd.grad(found.sum(), log_prob)[0] == 0


@pytest.mark.parametrize("settings", [UNEVEN, SEQUENCE])
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
