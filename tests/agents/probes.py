"""Agents on the probes: environments whose best masks enumeration proves."""

import torch

from ccenv.agents import AGENTS
from ccenv.annexes.tasks.probe import NUM_DOMAINS, NUM_LABELS, PROBE_SETTINGS
from ccenv.base.registry import resolve
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.simulator.rollout import walk
from tests.ccenv import episodes


def block_masks(images, num_layers=2):
    """The one block a layer that each image needs."""
    wanted = [(domains_of(images) + layer) % NUM_DOMAINS for layer in range(num_layers)]
    return [torch.nn.functional.one_hot(one, NUM_DOMAINS).bool() for one in wanted]


def unit_masks(images):
    """The one unit of four that each image needs of `probe-residual`."""
    return [(domains_of(images) == unit)[:, None] for unit in range(NUM_DOMAINS)]


def exit_masks(images):
    """Where each image should stop in `probe-exit`: True = go on."""
    return [(domains_of(images) > number)[:, None] for number in range(NUM_DOMAINS - 1)]


def domains_of(images):
    return images.flatten(1).argmax(dim=1) // NUM_LABELS


OPTIMA = {
    "blocks": (PROBE_SETTINGS, block_masks),
    "units": ({"dataset": "probe", "network": "probe-residual"}, unit_masks),
    "exits": ({"dataset": "probe", "network": "probe-exit"}, exit_masks),
}
"""Probe -> settings of its environment, and the best masks of images."""
UNEVEN = episodes.UNEVEN | {"network": "mlp"}
"""Layers of different sizes, with a network that learns along."""
EXPERTS = {
    "dataset": "synthetic",
    "network": "experts",
    "network_kwargs": {"num_experts": 4, "expert_size": 3, "channels": [2, 4], "first_units": 4},
    "weights": "cotrain",
    "observation": "layer_input",
}
"""One gate of four experts, which sees what they read."""
STREAM = {"dataset": "digits", "network": "streaming", "weights": "cotrain"}
"""An environment without known best masks, for agents that read entropies."""
# A right answer is worth two dense networks.
PRICED = {"reward_kwargs": {"cost_weight": 0.5}}


def make_agent(name, rows=128, seed=0, env_settings=None, probe="blocks", **settings):
    """An agent in the environment of a probe, or of settings that name a network."""
    agent_class, settings_of_env = resolve(name, AGENTS, "agent"), env_settings or {}
    environment = STREAM if probe == "stream" else OPTIMA[probe][0]
    environment = {} if "network" in settings_of_env else environment
    wishes = environment | PRICED | agent_class.env_defaults | settings_of_env
    env = BlockSelectionVectorEnv(rows * wishes.get("group_size", 1), **wishes)
    env.reset(seed=seed)
    return agent_class(env, seed=seed, **settings)


def small(name):
    """Settings with which an agent fits the probe's four blocks, or the probe that it needs."""
    return {
        "rloo": {"num_kept": 1},
        "magnitude": {"target_density": 0.25},
        "act": {"probe": "exits"},
        "pondernet": {"probe": "exits"},
        "entropy_threshold": {"probe": "stream"},
    }.get(name, {})


def share_of_optimal_masks(agent, probe="blocks"):
    """Share of test images whose masks, as executed, are the best: of blocks gate by gate."""
    simulator = agent.simulator.on_split("test", 256)
    _, _, steps = walk(simulator, agent, None, torch.arange(256))
    best = OPTIMA[probe][1](simulator.data.batch(torch.arange(256))[0])
    hits = [(s.outcome.mask == b).all(dim=1) for s, b in zip(steps, best, strict=True)]
    are_best = torch.stack(hits)
    return (are_best if probe == "blocks" else are_best.all(dim=0)).float().mean().item()
