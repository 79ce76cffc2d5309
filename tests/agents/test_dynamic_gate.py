"""Laws of dynamic gates: masks forward, probabilities backward, and what a price of usage does."""

import pytest
import torch
from probes import make_agent

from ccenv.agents.systems.straight_through_ops import soft_masked_logits, straight_through
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import collect_rollout

COTRAIN = {
    "dataset": "digits",
    "network": "mlp",
    "num_blocks": (6, 4),
    "block_size": 4,
    "weights": "cotrain",
}


def gradients_of(agent, estimate):
    """Gate values that reach the network, and the task's gradient to the probabilities."""
    rollout = collect_rollout(agent.simulator, agent, agent.generator)
    state, layers = agent.simulator.state, range(2)
    scores = [agent.scores(rollout.observations[i], i).detach() for i in layers]
    probabilities = [score.sigmoid().requires_grad_() for score in scores]
    pairs = zip(rollout.actions, probabilities, strict=True)
    gates = [estimate(mask, probability) for mask, probability in pairs]
    logits = soft_masked_logits(agent.simulator.network, state.images, gates)
    loss = torch.nn.functional.cross_entropy(logits, state.labels)
    return gates, torch.autograd.grad(loss, probabilities, allow_unused=True)


@pytest.mark.parametrize("num_kept", [None, 2])
def test_forward_gates_are_zero_or_one_and_backward_all_of_them_learn_from_the_task(num_kept):
    agent = make_agent("dynamic_gate", 32, env_settings=COTRAIN, num_kept=num_kept)
    gates, gradients = gradients_of(agent, straight_through)
    assert all(set(gate.unique().tolist()) <= {0.0, 1.0} for gate in gates)
    assert all((gradient != 0).any(dim=0).all() for gradient in gradients)
    if num_kept:
        assert all((gate.sum(dim=1) == num_kept).all() for gate in gates)


def test_a_price_of_usage_closes_gates_and_without_one_the_task_opens_some():
    density, error = {}, {}
    for weight in (0.0, 20.0):
        agent = make_agent(
            "dynamic_gate", 64, env_settings=COTRAIN, usage_weight=weight, learning_rate=0.02
        )
        agent.learn(64 * 100)
        found = evaluate(agent.env, agent)
        density[weight], error[weight] = sum(found.density) / 2, found.error
    assert density[20.0] < 0.1 < 0.5 < density[0.0]
    assert error[0.0] < 0.25 < error[20.0]
