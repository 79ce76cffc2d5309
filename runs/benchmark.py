"""Speed of the environment's views beside the bare network's: python -m runs.benchmark.

Everything is measured in one process, in turns, on masks drawn beforehand: a ratio compares two
neighbouring timings, so that a busy machine slows both. An image is one episode of two steps.

With glibc, batches of thousands of images pay for memory that is given back to the system and
fetched again every step; `MALLOC_TRIM_THRESHOLD_=2000000000 MALLOC_MMAP_THRESHOLD_=2000000000` in
the environment keeps it. The machine's card names what was set.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
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
from ccenv.vector_env import BlockSelectionVectorEnv
from runs import folder as run_folder
from runs.machine import load_average, machine, tuned, versions
from runs.report import markdown

NUM_LAYERS, NUM_BLOCKS = 2, 16
SIZES = (256, 1024, 4096)
SINGLE_SIZES = (256,)
"""batches of single environments: each image costs a Python call a step."""
VIEWS = ("simulator", "vector_env", "sb3_vec_env", "dummy_vec_env", "sync_vector_env")
TARGETS = {"vector_env": 0.9, "sb3_vec_env": 0.7}
NOTES = """\
784-256-256-10, 16 blocks a layer; rates in images per second, medians; ratios to the bare network
in the same round: median [quartiles]. Single environments (DummyVecEnv, SyncVectorEnv) hold one
image each."""

Episode = Callable[[], object]


@dataclass(frozen=True)
class Speed:
    """How fast one view walks batches of images through the network."""

    view: str
    """"network" or one of `VIEWS`."""
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


def noise(split: str) -> Split:
    """10,000 random images of 28 x 28 pixels, stored as MNIST is."""
    generator = stream(0, f"noise {split}")
    images = torch.randint(256, (10_000, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(10, (10_000,), generator=generator), 10)


def make_network() -> GatedMLP:
    """The network that is measured, with its initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GatedMLP(784, (NUM_BLOCKS,) * NUM_LAYERS, 16).requires_grad_(False)


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
        "network": network_episode(network, masks),
        "simulator": simulator_episode(Simulator(num_images, **settings), masks),
        "vector_env": env_episode(BlockSelectionVectorEnv(num_images, **settings), bits),
        "sb3_vec_env": sb3_episode(num_images, settings, bits),
    }
    if single:
        episodes |= single_episodes(num_images, settings, bits)
    return episodes


def network_episode(network: GatedMLP, masks: Sequence[Tensor]) -> Episode:
    """The bare network on batches that were drawn beforehand, other images each time."""
    data, num_images = noise("train"), len(masks[0])
    numbers = torch.arange(4 * num_images) % len(data)
    batches = itertools.cycle([data.batch(part)[0] for part in numbers.split(num_images)])

    def episode() -> object:
        with torch.no_grad():
            return network(next(batches), masks)

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
        episodes: view -> function that walks one batch; "network" is what ratios refer to.
        num_images: images of a batch.
        repeats: rounds.
        seconds: length of one timing.
    """
    counts = {view: episodes_for(episode, seconds) for view, episode in episodes.items()}
    times: dict[str, list[float]] = {view: [] for view in episodes}
    for _ in range(repeats):
        for view, episode in episodes.items():
            times[view].append(time_episodes(episode, counts[view]))
    return [speed(view, num_images, times[view], times["network"]) for view in episodes]


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


def speed(view: str, num_images: int, times: Sequence[float], bare: Sequence[float]) -> Speed:
    """Medians and quartiles of one view's timings."""
    rate = num_images / float(np.median(times))
    low, middle, high = np.quantile(np.array(bare) / np.array(times), (0.25, 0.5, 0.75)).tolist()
    return Speed(view, num_images, rate, NUM_LAYERS * rate, middle, low, high)


def run_benchmark(options: argparse.Namespace) -> dict[str, Any]:
    """Measures everything and says on which machine."""
    torch.set_num_threads(options.threads)
    load, speeds = load_average(), []
    for size in SIZES[:1] if options.quick else SIZES:
        episodes = make_episodes(size, options.density, single=size in SINGLE_SIZES)
        repeats, seconds = (3, 0.02) if options.quick else (options.repeats, 0.25)
        speeds += measure(episodes, size, repeats, seconds)
        print(f"measured {size} images", file=sys.stderr, flush=True)
    rows = [asdict(speed) for speed in speeds]
    return {
        "kind": "speed",
        "name": "environment-speed",
        "density": options.density,
        "rows": rows,
        "misses": misses(rows),
        "machine": machine() | {"load_average": load, "variables": tuned()},
        "versions": versions(),
    }


def misses(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Targets that were not met, in words."""
    by_key = {(row["view"], row["num_images"]): row for row in rows}
    missed = [
        f"{view}, {size} images: {row['ratio']:.2f} of the bare network's rate, "
        f"target {TARGETS[view]}"
        for (view, size), row in by_key.items()
        if view in TARGETS and row["ratio"] < TARGETS[view]
    ]
    for view in TARGETS:
        for size in SINGLE_SIZES:
            rates = [by_key[v, size]["images_per_second"] for v in (view, "dummy_vec_env")]
            if rates[0] < 10 * rates[1]:
                missed.append(
                    f"{view}, {size} images: {rates[0] / rates[1]:.1f} times DummyVecEnv, target 10"
                )
    return missed


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Speeds in Markdown."""
    columns = {
        "view": "left",
        "images": "right",
        "images/s": "right",
        "env steps/s": "right",
        "of the bare network": "left",
    }
    lines = [
        [
            row["view"],
            f"{row['num_images']:,}",
            f"{row['images_per_second']:,.0f}",
            f"{row['steps_per_second']:,.0f}",
            f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
        ]
        for row in rows
    ]
    return markdown(columns, lines)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m runs.benchmark",
        description="Environment speed as ratios to the bare network's, in one process.",
    )
    parser.add_argument("--quick", action="store_true", help="256 images, seconds only")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument(
        "--density", type=float, default=0.5, help="share of blocks kept; 0.5 as a space's sample()"
    )
    parser.add_argument("--repeats", type=int, default=11, help="rounds")
    parser.add_argument("--record", action="store_true", help="write the result to --results-dir")
    parser.add_argument("--results-dir", default="runs/results", help="folder of --record")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; see --help."""
    options = make_parser().parse_args(arguments)
    found = run_benchmark(options)
    if options.record:
        run_folder.write_json(Path(options.results_dir) / "environment-speed.json", found)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    print(f"{table(found['rows'])}\n\n{NOTES}\n{found['machine']}")
    for line in found["misses"]:
        print(f"target missed: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
