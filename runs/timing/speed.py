"""Speed of views of the environment: (view, batch) -> rates beside the bare network's, in turns."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from ccenv.data import Split
from ccenv.env import BlockSelectionEnv
from ccenv.networks import GatedMLP
from ccenv.seeding import stream
from ccenv.simulator import Simulator
from ccenv.sparse.panel_cache import keep_panels
from ccenv.vector_env import BlockSelectionVectorEnv

NUM_LAYERS, NUM_BLOCKS = 2, 16
VIEWS = ("simulator", "vector_env", "sb3_vec_env", "dummy_vec_env", "sync_vector_env")

Episode = Callable[[], object]


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


def noise(split: str) -> Split:
    """10,000 random images of 28 x 28 pixels, stored as MNIST is."""
    generator = stream(0, f"noise {split}")
    images = torch.randint(256, (10_000, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(10, (10_000,), generator=generator), 10)


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


def make_episodes(num_images: int, density: float, single: bool) -> dict[str, Episode]:
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


def network_episode(network: GatedMLP, masks: Sequence[Tensor], backend: str) -> Episode:
    """The bare network on batches that were drawn beforehand, other images each time."""
    data, num_images = noise("train"), len(masks[0])
    numbers = torch.arange(4 * num_images) % len(data)
    batches = itertools.cycle([data.batch(part)[0] for part in numbers.split(num_images)])

    def episode() -> object:
        with torch.no_grad():
            return network(next(batches), masks, backend)

    return episode


def simulator_episode(simulator: Simulator, masks: Sequence[Tensor]) -> Episode:
    """The environment in tensors, without a view."""
    simulator.seed(0)

    def episode() -> object:
        simulator.begin()
        return [simulator.step(mask) for mask in masks]

    return episode


def env_episode(env: Any, bits: Sequence[np.ndarray]) -> Episode:
    """Any of Gymnasium's vector environments, resetting on the last step."""
    env.reset(seed=0)
    return lambda: [env.step(mask) for mask in bits]


def sb3_episode(num_images: int, settings: dict[str, Any], bits: Sequence[np.ndarray]) -> Episode:
    """Stable-Baselines3's view of the batch."""
    from ccenv.sb3 import BlockSelectionVecEnv

    env = BlockSelectionVecEnv(num_images, **settings)
    env.seed(0)
    env.reset()
    return lambda: [env.step(mask) for mask in bits]


def single_episodes(
    num_images: int, settings: dict[str, Any], bits: Sequence[np.ndarray]
) -> dict[str, Episode]:
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
    episodes: dict[str, Episode], num_images: int, repeats: int, seconds: float
) -> list[Speed]:
    """Times all views in turns.

    Args:
        episodes: view -> function that walks one batch; ratios refer to "network" and
            "dense_network".
        num_images: images of a batch.
        repeats: rounds.
        seconds: length of one timing.
    """
    counts = {view: episodes_for(episode, seconds) for view, episode in episodes.items()}
    times: dict[str, list[float]] = {view: [] for view in episodes}
    for _ in range(repeats):
        for view, episode in episodes.items():
            times[view].append(time_episodes(episode, counts[view]))
    bare = times["network"], times["dense_network"]
    return [speed(view, num_images, times[view], *bare) for view in episodes]


def episodes_for(episode: Episode, seconds: float) -> int:
    """How many episodes fill the given time, after a warm-up of two."""
    for _ in range(2):
        episode()
    return max(1, round(seconds / time_episodes(episode, 2)))


def time_episodes(episode: Episode, count: int) -> float:
    """Mean seconds of one episode."""
    started = time.perf_counter()
    for _ in range(count):
        episode()
    return (time.perf_counter() - started) / count


def speed(
    view: str,
    num_images: int,
    times: Sequence[float],
    bare: Sequence[float],
    dense: Sequence[float],
) -> Speed:
    """Medians and quartiles of one view's timings."""
    rate = num_images / float(np.median(times))
    low, middle, high = np.quantile(np.array(bare) / np.array(times), (0.25, 0.5, 0.75)).tolist()
    dense_ratio = float(np.median(np.array(dense) / np.array(times)))
    return Speed(view, num_images, rate, NUM_LAYERS * rate, middle, low, high, dense_ratio)
