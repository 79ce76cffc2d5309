"""Speed of views of the environment: (view, batch) -> rates beside the bare network's, in turns."""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.data import Split
from ccenv.envs.scalar import BlockSelectionEnv
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.networks.mlp import GatedMLP
from ccenv.runs.show.tables import formatted
from ccenv.runs.timing.turns import Pass, quartiles_of_ratio, seconds_in_turns
from ccenv.simulator.simulator import Simulator
from ccenv.sparse.cpu.packed_weights import keep_panels

NUM_LAYERS, NUM_BLOCKS = 2, 16
VIEWS = ("simulator", "vector_env", "sb3_vec_env", "dummy_vec_env", "sync_vector_env")
TARGETS = {"vector_env": 0.9, "sb3_vec_env": 0.7}
"""Least rate over the bare network's."""
OVER_DUMMY = 10
"""Least rate of both over DummyVecEnv's."""
NOTES = """\
784-256-256-10, 16 blocks a layer; rates in images per second, medians; ratios to the bare network
(the kernels, without an environment) in the same round: median [quartiles]; and to the same network
by dense products times masks. Single environments (DummyVecEnv, SyncVectorEnv) hold one
image each."""
COLUMNS = {
    "view": "<{view}",
    "images": ">{num_images:,}",
    "images/s": ">{images_per_second:,.0f}",
    "env steps/s": ">{steps_per_second:,.0f}",
    "of the bare network": "<{ratio:.2f} [{ratio_low:.2f}, {ratio_high:.2f}]",
    "of the dense loop": ">{dense_ratio:.2f}",
}


@dataclass(frozen=True)
class Speed:
    """How fast one view walks batches of images through the network."""

    view: str
    """"network", "dense_network" or one of `VIEWS`."""
    num_images: int
    """images of a batch."""
    images_per_second: float
    """median."""
    steps_per_second: float
    """median; one step is one image in one gated layer."""
    ratio: float
    """rate over the bare network's, median over rounds."""
    ratio_low: float
    """lower quartile."""
    ratio_high: float
    """upper quartile."""
    dense_ratio: float
    """rate over that of the same network by dense products times masks, median over rounds."""


def noise(split: str, shape: tuple[int, ...] = (1, 28, 28), count: int = 10_000) -> Split:
    """Random images, stored as MNIST's are, and random labels of ten classes."""
    generator = stream(0, f"noise {split}")
    images = torch.randint(256, (count, *shape), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(10, (count,), generator=generator), 10)


def make_network() -> GatedMLP:
    """The network that is measured, with its initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = GatedMLP(784, (NUM_BLOCKS,) * NUM_LAYERS, 16).requires_grad_(False)
    keep_panels(network)
    return network


def draw_masks(num_images: int, density: float) -> list[Tensor]:
    """Masks of all layers, each block kept with probability `density`."""
    generator = stream(0, "benchmark masks")
    return [
        torch.rand(num_images, NUM_BLOCKS, generator=generator) < density for _ in range(NUM_LAYERS)
    ]


def make_episodes(num_images: int, density: float, single: bool) -> dict[str, Pass]:
    """For each view a function that walks one batch from the images to the logits.

    Args:
        num_images: images of a batch.
        density: share of blocks kept.
        single: whether to build batches of single environments too.
    """
    network, masks = make_network(), draw_masks(num_images, density)
    settings: dict[str, Any] = {"dataset": noise, "network": network}
    bits = [mask.numpy().astype(np.int8) for mask in masks]
    episodes = {
        "network": network_episode(network, masks, "auto"),
        "dense_network": network_episode(network, masks, "reference"),
        "simulator": simulator_episode(Simulator(num_images, **settings), masks),
        "vector_env": env_episode(BlockSelectionVectorEnv(num_images, **settings), bits),
        "sb3_vec_env": sb3_episode(num_images, settings, bits),
    }
    if single:
        episodes |= single_episodes(num_images, settings, bits)
    return episodes


def network_episode(network: GatedMLP, masks: Sequence[Tensor], backend: str) -> Pass:
    """The bare network on batches that were drawn beforehand, other images each time."""
    data, num_images = noise("train"), len(masks[0])
    numbers = torch.arange(4 * num_images) % len(data)
    batches = itertools.cycle([data.batch(part)[0] for part in numbers.split(num_images)])

    def episode() -> object:
        with torch.no_grad():
            return network(next(batches), masks, backend)

    return episode


def simulator_episode(simulator: Simulator, masks: Sequence[Tensor]) -> Pass:
    """The environment in tensors, without a view."""
    simulator.seed(0)

    def episode() -> object:
        simulator.begin()
        return [simulator.step(mask) for mask in masks]

    return episode


def env_episode(env: Any, bits: Sequence[np.ndarray]) -> Pass:
    """Any of Gymnasium's vector environments, resetting on the last step."""
    env.reset(seed=0)
    return lambda: [env.step(mask) for mask in bits]


def sb3_episode(num_images: int, settings: dict[str, Any], bits: Sequence[np.ndarray]) -> Pass:
    """Stable-Baselines3's view of the batch."""
    from ccenv.envs.stable_baselines import BlockSelectionVecEnv

    env = BlockSelectionVecEnv(num_images, **settings)
    env.seed(0)
    env.reset()
    return lambda: [env.step(mask) for mask in bits]


def single_episodes(
    num_images: int, settings: dict[str, Any], bits: Sequence[np.ndarray]
) -> dict[str, Pass]:
    """Batches of scalar environments, as Stable-Baselines3 and Gymnasium make them."""
    from gymnasium.vector import AutoresetMode, SyncVectorEnv
    from stable_baselines3.common.vec_env import DummyVecEnv

    makers: list[Callable[[], gym.Env[Any, Any]]] = [lambda: BlockSelectionEnv(**settings)]
    makers *= num_images
    dummy = DummyVecEnv(makers)
    dummy.seed(0)
    dummy.reset()
    return {
        "dummy_vec_env": lambda: [dummy.step(mask) for mask in bits],
        "sync_vector_env": env_episode(
            SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP), bits
        ),
    }


def measure(
    episodes: dict[str, Pass], num_images: int, repeats: int, seconds: float
) -> list[Speed]:
    """Times all views in turns.

    Args:
        episodes: view -> function that walks one batch; ratios refer to "network" and
            "dense_network".
        num_images: images of a batch.
        repeats: rounds, at least two.
        seconds: length of one timing.
    """
    times = seconds_in_turns(episodes, repeats, seconds)
    bare = times["network"], times["dense_network"]
    return [speed(view, num_images, times[view], *bare) for view in episodes]


def speed(
    view: str,
    num_images: int,
    times: Sequence[float],
    bare: Sequence[float],
    dense: Sequence[float],
) -> Speed:
    """Medians and quartiles of one view's timings."""
    rate = num_images / statistics.median(times)
    low, middle, high = quartiles_of_ratio(bare, times)
    dense_ratio = quartiles_of_ratio(dense, times)[1]
    return Speed(view, num_images, rate, NUM_LAYERS * rate, middle, low, high, dense_ratio)


def misses(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Targets that were not met, in words."""
    by_key = {(row["view"], row["num_images"]): row for row in rows}
    missed = [
        f"{view}, {size} images: {row['ratio']:.2f} of the bare network's rate, "
        f"target {TARGETS[view]}"
        for (view, size), row in by_key.items()
        if view in TARGETS and row["ratio"] < TARGETS[view]
    ]
    singles = [size for view, size in by_key if view == "dummy_vec_env"]
    for view, size in itertools.product(TARGETS, singles):
        rates = [by_key[v, size]["images_per_second"] for v in (view, "dummy_vec_env")]
        times = rates[0] / rates[1]
        if times < OVER_DUMMY:
            missed.append(
                f"{view}, {size} images: {times:.1f} times DummyVecEnv, target {OVER_DUMMY}"
            )
    return missed


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Speeds in Markdown."""
    return formatted(COLUMNS, rows)
