"""Speed of whole trainings: with the kernels, by dense products times masks, and of dense networks.

What is timed is the loop that `runs.train` runs (`agents.base.Agent.learn`): images, observations,
the policy's draws, the network's passes and rewards, the agent's update, then the network's own
forward, backward and optimiser.
"""

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from agents.base import Agent
from ccenv.rollout import collect_rollout
from runs.timing.training_cases import DENSE, MASKED, Training, make_agents
from runs.timing.turns import quartiles_of_ratio, seconds_in_turns


@dataclass(frozen=True)
class TrainingSpeed:
    """One way to train, beside the others in the same rounds."""

    training: str
    """what is trained."""
    route: str
    """"kernels", "masked dense" or "dense"."""
    dataset: str
    """a name, or the function that made noise of the same shape where the data are absent."""
    num_images: int
    """different images of an update."""
    num_rows: int
    """rows of an update: images times masks of each."""
    density: float
    """share of blocks kept, realised, mean over gated layers."""
    images_per_second: float
    """median."""
    speedup: float
    """time of the loop by masked dense products over time, median over rounds."""
    speedup_low: float
    """lower quartile."""
    speedup_high: float
    """upper quartile."""
    dense_speedup: float
    """time of the dense network's loop over time, median over rounds."""
    rollout_milliseconds: float
    """of an update, in the environment: images, observations, policy, network, rewards; median."""
    agent_milliseconds: float
    """of an update, in the agent's own update; median."""
    network_milliseconds: float
    """of an update, in the network's forward, backward and optimiser; median."""


def time_training(training: Training, repeats: int, seconds: float) -> list[TrainingSpeed]:
    """Times all routes of a training in turns.

    Args:
        training: what to train.
        repeats: rounds, at least two.
        seconds: length of one timing.
    """
    agents = make_agents(training)
    # One image asked for is one batch: a whole batch is always finished.
    loops = {route: partial(agent.learn, 1) for route, agent in agents.items()}
    times = seconds_in_turns(loops, repeats, seconds)
    return [speed(training.name, route, agent, times) for route, agent in agents.items()]


def speed(
    name: str, route: str, agent: Agent, times: Mapping[str, Sequence[float]]
) -> TrainingSpeed:
    """One route's row."""
    simulator = agent.simulator
    low, middle, high = quartiles_of_ratio(times[MASKED], times[route])
    stages, density = stage_seconds(agent)
    images = simulator.num_images // simulator.group_size
    rollout, update, network = (1e3 * second for second in stages)
    return TrainingSpeed(
        training=name,
        route=route,
        dataset=str(simulator.dataset),
        num_images=images,
        num_rows=simulator.num_images,
        density=density,
        images_per_second=images / statistics.median(times[route]),
        speedup=middle,
        speedup_low=low,
        speedup_high=high,
        dense_speedup=quartiles_of_ratio(times[DENSE], times[route])[1],
        rollout_milliseconds=rollout,
        agent_milliseconds=update,
        network_milliseconds=network,
    )


def stage_seconds(agent: Agent, updates: int = 10) -> tuple[list[float], float]:
    """Median seconds of rollout, agent's and network's update; mean density; of some updates."""
    rows, densities = [], []
    for _ in range(updates):
        marks = [time.perf_counter()]
        rollout = collect_rollout(agent.simulator, agent, agent.generator)
        marks.append(time.perf_counter())
        agent.update(rollout)
        marks.append(time.perf_counter())
        agent.simulator.update_network()
        marks.append(time.perf_counter())
        rows.append([b - a for a, b in itertools.pairwise(marks)])
        kept = [v for k, v in rollout.means.items() if k.startswith("density_")]
        densities.append(statistics.mean(kept))
    return [statistics.median(stage) for stage in zip(*rows, strict=True)], statistics.mean(
        densities
    )
