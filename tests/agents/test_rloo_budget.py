"""A budget of mean compute: kept, and spent on the images that need it."""

import pytest
import torch
from torch import nn

from ccenv.agents.scores import ONE_HOT
from ccenv.annexes.agents.rloo_budget import RlooBudget
from ccenv.annexes.tasks.probe import (
    NUM_DOMAINS,
    NUM_LABELS,
    probe_images,
)
from ccenv.base.seeding import stream
from ccenv.data import Split
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.mdp import dynamics
from ccenv.mdp.observations import LAST_SYMBOLS, certainty
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.core.stage import Stage
from ccenv.simulator.rollout import walk

IN_FEATURES = NUM_DOMAINS * NUM_LABELS


class Steps(Stage):
    """Four blocks, of which an image of domain d needs the first d + 1: each adds a part."""

    num_blocks = NUM_DOMAINS

    def __init__(self):
        super().__init__()
        weight = torch.zeros(NUM_DOMAINS, NUM_LABELS, IN_FEATURES)
        for block in range(NUM_DOMAINS):
            for domain in range(block, NUM_DOMAINS):
                for label in range(NUM_LABELS):
                    weight[block, label, domain * NUM_LABELS + label] = 1 / (domain + 1)
        self.linear = nn.Linear(IN_FEATURES, IN_FEATURES, bias=False)
        self.linear.weight.data.copy_(weight.flatten(0, 1))

    def forward(self, x, mask=None, before=None, weights=None, backend="auto"):
        # Noise stays below one half.
        y = self.linear((x > 0.5).float())
        return y if mask is None else y * mask.repeat_interleave(NUM_LABELS, dim=1)


class First(nn.Module):
    """The part of an image that the network reads."""

    def forward(self, x):
        return x[:, :IN_FEATURES]


def told(split):
    """Images of the probe without noise, and behind each its domain one-hot."""
    images, labels = probe_images(1024, seed=len(split))
    plain = (images.flatten(1) > 0.5).float()
    domain = nn.functional.one_hot(plain.argmax(dim=1) // NUM_LABELS, NUM_DOMAINS)
    return Split(torch.cat([plain, domain], dim=1)[:, None, None], labels, NUM_LABELS + 1)


def stepwise(input_shape=(1, 1, IN_FEATURES), num_classes=NUM_LABELS + 1):
    """A network whose images need one to four blocks of one gate: 16 MACs each, and 24 more."""
    start = nn.Sequential(nn.Flatten(), First())
    head = nn.Linear(IN_FEATURES, num_classes)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[:NUM_LABELS] = 16 * torch.eye(NUM_LABELS).repeat(1, NUM_DOMAINS)
        head.bias.copy_(torch.tensor([0.0, 0.0, 14.0]))
    network = GatedSequential(start, [Steps()], head, torch.zeros(1, *input_shape))
    network.has_own_weights = True
    return network.eval()


def step_masks(images):
    domain = images.flatten(1)[:, :IN_FEATURES].argmax(dim=1) // NUM_LABELS
    return [torch.arange(NUM_DOMAINS) <= domain[:, None]]


TOLD = {"network": stepwise, "dataset": f"{__name__}:told", "observation": LAST_SYMBOLS}
NUMBERS = {"num_kept": 2, "spread": 1.0}
PROBES = {
    "numbers": ({"network": stepwise}, step_masks, 64 / 88, NUMBERS),
    "symbols": (TOLD, step_masks, 64 / 88, {**NUMBERS, "embedding_size": ONE_HOT}),
    "embeddings": (TOLD, step_masks, 64 / 88, {**NUMBERS, "embedding_size": 2}),
}
"""The environment's settings, the best masks, and what they cost on average."""


def make_agent(env_settings=None, batch_size=128, seed=0, **settings):
    wishes = RlooBudget.env_defaults | {"dataset": "probe"} | (env_settings or {})
    env = BlockSelectionVectorEnv(batch_size * wishes["group_size"], **wishes)
    env.reset(seed=seed)
    return RlooBudget(env, seed=seed, **settings)


def judged(agent, best_masks):
    """Share of test images with the best masks at every gate, and the mean cost."""
    simulator = agent.simulator.on_split("test", 256)
    _, _, steps = walk(simulator, agent, None, torch.arange(256))
    best = best_masks(simulator.data.batch(torch.arange(256))[0])
    hits = [(s.outcome.mask == b).all(dim=1) for s, b in zip(steps, best, strict=True)]
    share = torch.stack(hits).all(dim=0).float().mean().item()
    return share, steps[-1].outcome.compute_cost.mean().item()


FAST, SLOW = ("numbers", "symbols"), pytest.mark.slow
SMALL_EXITS = {"network": "probe-exit", "observation": "certainty"}


def solved(probe, seed):
    env_settings, best_masks, cost, settings = PROBES[probe]
    rates = {"learning_rate": 0.02, "number_learning_rate": 0.02, "multiplier_lr": 0.1}
    agent = make_agent(
        env_settings, 64, seed, cost_limit=cost, warmup_share=0.1, **rates, **settings
    )
    agent.learn(19_200)
    return judged(agent, best_masks)


@pytest.mark.parametrize(
    ("probe", "seed"),
    [
        (probe, seed) if seed == 0 and probe in FAST else pytest.param(probe, seed, marks=SLOW)
        for probe in PROBES
        for seed in range(3)
    ],
)
def test_the_best_masks_under_a_budget_are_found_at_the_budget(probe, seed):
    share, cost = solved(probe, seed)
    assert share >= 0.95
    assert cost == pytest.approx(PROBES[probe][2], rel=0.05)


@pytest.mark.parametrize("cost_limit", [0.55, 0.7])
def test_a_budget_holds_from_early_on_where_it_is_neither_too_much_nor_too_little(cost_limit):
    costs = []
    agent = make_agent(
        {"network": stepwise}, 64, cost_limit=cost_limit, warmup_share=1.0, offset_lr=0.5
    )
    agent.learn(6_400, lambda _, scalars: costs.append(scalars["episode/compute_cost"]))
    # Numbers that do not depend on the image are held by the shift alone.
    assert sum(costs[50:]) / len(costs[50:]) == pytest.approx(cost_limit, rel=0.05)


def test_before_numbers_are_learned_they_are_the_same_for_every_image():
    agent = make_agent({"network": stepwise}, 64, cost_limit=0.6, num_kept=2, warmup_share=1.0)
    agent.learn(640)
    logits = agent.distribution(agent.simulator.begin(), 0).number_logits
    torch.testing.assert_close(logits, logits[:1].expand_as(logits))
    assert agent.price > 0


def test_masks_of_an_image_with_one_order_are_drawn_in_training_alone():
    agent = make_agent({"network": stepwise}, 64, cost_limit=0.6, num_kept=2, paired_masks=4)
    observation = agent.simulator.begin()
    numbered = [
        agent.act(observation, 0, generator).view(-1, 4, 4)[:, :, 0]
        for generator in (agent.generator, stream(0, "test"))
    ]
    alike = [(first == first[:, :1]).all(dim=1).float().mean().item() for first in numbered]
    assert alike[0] == 1.0
    assert alike[1] < 0.5


@pytest.mark.parametrize("size", [2, ONE_HOT])
def test_symbols_that_are_looked_up_are_not_standardised_and_numbers_before_them_are(size):
    context = {"context": {"budget": [0.4, 0.8]}}
    agent = make_agent(TOLD | context, 8, cost_limit=0.6, num_kept=2, embedding_size=size)
    observation = agent.simulator.begin()
    agent.numbers.see(observation, 0)
    assert agent.numbers.mean[0, 0] != 0
    assert agent.numbers.mean[0, 1:].eq(0).all()
    assert agent.numbers.square[0, 1:].eq(1).all()


def test_certainty_before_an_exit_is_the_answers_and_elsewhere_the_networks_own():
    agent = make_agent(SMALL_EXITS, 8, cost_limit=0.6)
    observation = agent.simulator.begin()
    state, network = agent.simulator.state, agent.simulator.network
    logits, _ = network.early_answer(0, state.hidden)
    expected = torch.distributions.Categorical(logits=logits)
    found = observation[:: agent.group_size]
    torch.testing.assert_close(found[:, 0], expected.probs.amax(dim=1).log())
    torch.testing.assert_close(found[:, 1], expected.entropy(), atol=1e-5, rtol=1e-5)
    units = make_agent({"network": "probe-residual"}, 8, cost_limit=0.3)
    units.simulator.begin()
    state, network = units.simulator.state, units.simulator.network
    assert torch.equal(certainty(network, state), dynamics.look(network, state))


def test_rows_that_have_stopped_show_no_certainty():
    agent = make_agent(SMALL_EXITS, 8, cost_limit=0.6)
    agent.simulator.begin()
    stop = torch.arange(64)[:, None] % 2 == 0
    observation = agent.simulator.step(~stop).observation
    assert (observation[stop[:, 0], :2] == 0).all()
    assert (observation[~stop[:, 0], 0] != 0).all()
