"""Laws of streams: what a refresh serves, what stays behind it, what runs, and what is answered."""

import math

import pytest
import torch

from ccenv.agents.reference_policies import BlockDropout
from ccenv.annexes.agents.entropy_threshold import EntropyThreshold, threshold_of
from ccenv.annexes.data.tasks import BURST, NUM_KEYS, SECOND_WAIT, surprise
from ccenv.annexes.networks.text.patches import entropy
from ccenv.base.seeding import stream
from ccenv.networks.core.exit_state import exit_losses
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import walk
from tests.ccenv.episodes import seeded

SIZES = {"width": 8, "local_units": 4, "head_units": 8, "hidden": 8, "num_heads": 2}
SMALL = {
    "dataset": "digits",
    "network": "streaming",
    "network_kwargs": {**SIZES, "patch_size": 3},
    "weights": "cotrain",
    "reward": "negative_nll",
    "observation": "layer_input",
}


def simulator_of(images=16, **more):
    return seeded(images, **SMALL | more)


def agent_at(threshold, **more):
    return EntropyThreshold(simulator_of(**more), threshold=threshold)


def plain_patched(network, inputs):
    """Answers of the model without refreshes, patch by patch, and the trunk's runs."""
    rows, size = len(inputs), network.patch_size
    context, memory = network.first.expand(rows, -1), network.trunk.no_memory(rows)
    strips, answers = inputs.squeeze(1), []
    for start in range(0, network.num_chunks, size):
        patch = torch.zeros(rows, network.trunk.width)
        places = range(start, min(start + size, network.num_chunks))
        for place in places:
            local = network.encoder(strips[:, place], place)
            patch = patch + network.joins[place - start](local)
            if place == places[-1]:
                context, entry = network.trunk(patch, memory)
                memory = torch.cat([memory, entry[:, None]], dim=1)
            answers.append(network.head(torch.cat([context, local], dim=1)))
    return torch.stack(answers, dim=1), memory


def test_out_of_the_thresholds_reach_it_is_the_plain_patched_model_bit_for_bit():
    agent = agent_at(math.log(10) + 1e-6)
    simulator = agent.simulator
    _, _, steps = walk(simulator, agent, None, torch.arange(16))
    outcome, hidden = steps[-1].outcome, simulator.state.hidden
    with torch.no_grad():
        answers, memory = plain_patched(simulator.network, simulator.state.images)
    assert torch.equal(outcome.answers, answers)
    assert torch.equal(hidden.memory, memory)
    assert outcome.macs.tolist() == [simulator.network.least_macs(0)] * 16


def lags(simulator, agent):
    """Of each answer: chunks of the open patch that its context has not seen, [chunks, rows]."""
    network, found = simulator.network, {}
    simulator.begin(torch.arange(16))
    for gate, place in enumerate(network.places):
        before = simulator.state.hidden
        with torch.no_grad():
            mask = agent.act(simulator.observe(simulator.state), gate, None)
            found[place] = network.refresh(before, mask, None).lag
        simulator.step(mask)
    nothing = torch.zeros(16, dtype=torch.int64)
    return torch.stack([found.get(place, nothing) for place in range(network.num_chunks)])


def test_without_refreshes_a_context_lags_by_half_a_patch_and_with_all_of_them_by_nothing():
    never, always = agent_at(10.0), agent_at(-1.0)
    behind = lags(never.simulator, never)
    assert behind[:, 0].tolist() == [1, 2, 0, 1, 2, 0, 1, 0]
    # Of whole patches of P chunks: (P - 1) / 2.
    assert behind[:6].double().mean() == 1.0
    assert not lags(always.simulator, always).any()
    _, _, steps = walk(always.simulator, always, None, torch.arange(16))
    assert steps[-1].outcome.compute_cost.tolist() == [1.0] * 16


@pytest.mark.parametrize("threshold", [-1.0, 2.2])
def test_a_refresh_is_gone_with_its_patch_and_leaves_nothing_in_the_memory(threshold):
    some, never = agent_at(threshold), agent_at(10.0)
    found = []
    for agent in (some, never):
        walk(agent.simulator, agent, None, torch.arange(16))
        found.append(agent.simulator.state.hidden)
    assert found[0].memory.shape[1] == math.ceil(8 / 3)
    assert torch.equal(found[0].memory, found[1].memory)
    assert torch.equal(found[0].answers[-1], found[1].answers[-1])
    # Entropies are those of the committed context, whatever was refreshed.
    assert all(torch.equal(a, b) for a, b in zip(found[0].guesses, found[1].guesses, strict=True))
    assert not torch.equal(found[0].answers[1], found[1].answers[1])


def test_entropies_are_in_nats_and_do_not_depend_on_neighbours():
    assert entropy(torch.zeros(1, 10)).item() == pytest.approx(2.302585, abs=1e-6)
    assert entropy(torch.tensor([[50.0, 0.0]])).item() == pytest.approx(0.0, abs=1e-6)
    simulator = simulator_of()
    whole = simulator.begin(torch.arange(16))[:, 0]
    alone = torch.cat([simulator.begin(torch.tensor([i]))[:, 0] for i in (3, 7)])
    torch.testing.assert_close(alone, whole[[3, 7]], rtol=1e-5, atol=1e-6)


def test_error_and_nll_are_means_over_all_answers_and_the_network_learns_by_them():
    simulator = simulator_of()
    agent = BlockDropout(simulator, keep_probability=0.5)
    _, actions, steps = walk(simulator, agent, stream(0, "test"), torch.arange(16))
    outcome = steps[-1].outcome
    labels = outcome.labels[:, None].expand(-1, 8)
    nll = -outcome.answers.log_softmax(dim=2).gather(2, labels[:, :, None]).mean(dim=(1, 2))
    torch.testing.assert_close(-steps[-1].reward, nll)
    right = (outcome.answers.argmax(dim=2) == labels).double().mean().item()
    found = evaluate(simulator, agent, split="validation", batch_size=500)
    assert found.nll == pytest.approx(-found.mean_return, rel=1e-4)
    hidden = simulator.state.hidden
    guesses = torch.stack(hidden.guesses, dim=1).flatten(0, 1)
    of_guesses = torch.nn.functional.cross_entropy(guesses, labels[:, :5].flatten())
    loss = exit_losses(simulator.network, simulator.state.images, outcome.labels, actions)
    assert loss.item() == pytest.approx((nll.mean() + of_guesses).item(), rel=1e-5)
    assert 0 <= right <= 1


def test_of_a_text_every_next_symbol_is_answered():
    simulator = simulator_of(
        dataset=short, network_kwargs={**SIZES, "patch_size": 6, "predicts": "next"}
    )
    _, _, steps = walk(simulator, BlockDropout(simulator), stream(0, "test"), torch.arange(16))
    windows, labels = simulator.data.batch(torch.arange(16))
    assert torch.equal(steps[-1].outcome.targets[:, :-1], windows[:, 1:])
    assert torch.equal(steps[-1].outcome.targets[:, -1], labels)


def short(split):
    return surprise(split, 0.15, 12)


def test_behind_a_second_wait_comes_the_key_again():
    windows, _ = surprise("test").batch(torch.arange(200))
    rows, places = (windows[:, 2:-1] == SECOND_WAIT).nonzero().t()
    assert len(rows) > 200
    assert torch.equal(windows[rows, places], windows[rows, places + BURST - 1])
    assert set(windows[rows, places].tolist()) == set(range(1, NUM_KEYS + 1))


def test_the_threshold_is_that_of_the_nearest_rate_that_one_reaches():
    assert threshold_of(torch.tensor([2.0, 1.0, 1.0, 0.5]), 0.4) == 1.5
    assert threshold_of(torch.tensor([2.0, 1.0, 0.5, 0.25]), 0.5) == 0.75
    with pytest.raises(ValueError, match=r"target_rate in \[0, 1\], got 1.5"):
        EntropyThreshold(simulator_of(2), target_rate=1.5)
    with pytest.raises(ValueError, match="observation='layer_input'"):
        EntropyThreshold(simulator_of(2, observation="summary"))
