"""Rates of the table of all masks: (view, rows) -> masks a second, beside the simulated."""

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.base.seeding import stream
from ccenv.data import Split
from ccenv.envs.table import BlockSelectionTableVectorEnv
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.runs.speed.benchmark import benchmark
from ccenv.runs.speed.kernels import Pass, Row
from ccenv.runs.tables.sweep_table import formatted

NUM_GATES = 9
SIZES = (64, 1024, 4096)
SIMULATED_ROWS = 64
"""Of the simulated environment, which takes about a millisecond a row."""
PPO_ROWS, PPO_STEPS = 1024, 4
NOTES = """\
ResNet-20 on CIFAR-10, 512 masks of each input, half of the units kept; masks (whole episodes) a
second and steps a second, medians, one thread, seconds of the processor. Simulated: the same
network, untrained, on noise, a step a unit. PPO: Stable-Baselines3's, end to end, two layers of 64,
4 epochs over 4 steps of every row."""
COLUMNS = {
    "view": "<{view}",
    "rows": ">{rows:,}",
    "masks/s": ">{masks_per_second:,.0f}",
    "steps/s": ">{steps_per_second:,.0f}",
    "ms of a step": ">{milliseconds:,.3f}",
}


def noise(split: str) -> Split:
    """Random images of CIFAR's size."""
    generator = stream(0, f"noise {split}")
    images = torch.randint(256, (256, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(10, (256,), generator=generator), 10)


def stepped(env: Any, bits: int, rows: int) -> Pass:
    """A step of a vector environment under masks that were drawn beforehand."""
    generator = np.random.default_rng(0)
    masks = [(generator.random((rows, bits)) < 0.5).astype(np.int8) for _ in range(4)]
    actions = itertools.cycle(masks)
    env.reset(seed=0)
    return lambda: env.step(next(actions))


def simulated() -> Pass:
    """A step of the environment with the network."""
    settings: dict[str, Any] = {"dataset": noise, "network": untrained()}
    return stepped(BlockSelectionVectorEnv(SIMULATED_ROWS, **settings), 1, SIMULATED_ROWS)


def untrained() -> Any:
    """ResNet-20 as it begins."""
    from ccenv.networks.vision.residual import resnet

    return resnet(depth=20).eval().requires_grad_(False)


def ppo() -> Pass:
    """Collects `PPO_STEPS` steps of every row and learns from them."""
    from stable_baselines3 import PPO

    from ccenv.envs.table_sb3 import BlockSelectionTableVecEnv

    settings: dict[str, Any] = {"gamma": 1.0, "n_epochs": 4, "seed": 0, "device": "cpu"}
    settings |= {"stats_window_size": PPO_ROWS, "batch_size": PPO_ROWS, "n_steps": PPO_STEPS}
    model = PPO("MlpPolicy", BlockSelectionTableVecEnv(PPO_ROWS), **settings)
    count = PPO_ROWS * PPO_STEPS
    return lambda: model.learn(count, reset_num_timesteps=False)


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """All views; quick: the fewest rows and no PPO."""
    seconds = 0.02 if quick else 0.2
    functions: dict[tuple[str, int, int, int], Callable[[], object]] = {}
    for rows in SIZES[:1] if quick else SIZES:
        at_once = BlockSelectionTableVectorEnv(rows)
        functions["table, all at once", rows, rows, 1] = stepped(at_once, NUM_GATES, rows)
        by_gate = BlockSelectionTableVectorEnv(rows, by_gate=True)
        functions["table, gate by gate", rows, rows, NUM_GATES] = stepped(by_gate, 1, rows)
    functions["simulated, gate by gate", SIMULATED_ROWS, SIMULATED_ROWS, NUM_GATES] = simulated()
    if not quick:
        functions["PPO on the table", PPO_ROWS, PPO_ROWS * PPO_STEPS, 1] = ppo()
    times = seconds_in_turns(functions, rounds, seconds, work_clock())
    for (view, rows, decided, gates), own in times.items():
        middle = statistics.median(own)
        yield {
            "view": view,
            "rows": rows,
            "masks_per_second": decided / gates / middle,
            "steps_per_second": decided / middle,
            "milliseconds": 1000 * middle,
        }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rates in Markdown."""
    return formatted(COLUMNS, rows)


TABLE_RATES = benchmark(
    "table",
    "look-ups in the table of all masks beside the simulated environment",
    measured,
    table,
    kind="table-rates",
    recorded_as="table-rates",
    notes=NOTES,
)
