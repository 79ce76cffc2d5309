"""Rates of TorchRL's view: (rows) -> images a second, beside the vector environment's, in turns."""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.base.clock import quartiles_of_ratio, seconds_in_turns, work_clock
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.runs.lab.benchmarks.environment import draw_masks, env_episode, make_network, noise
from ccenv.runs.speed.benchmark import benchmark
from ccenv.runs.speed.kernels import Pass, Row
from ccenv.runs.tables.sweep_table import formatted

SIZES = (256, 1024, 4096)
VECTOR, TENSORS, ROLLOUT = "vector environment", "TorchRL, steps", "TorchRL, env.rollout"
NOTES = """\
784-256-256-10, 16 blocks a layer, half of them kept, masks drawn beforehand; images a second,
medians, one thread, seconds of the processor; ratios to the vector environment in the same round:
median [quartiles]. A step is `step_and_maybe_reset`."""
COLUMNS = {
    "view": "<{view}",
    "rows": ">{rows:,}",
    "images/s": ">{images_per_second:,.0f}",
    "of the vector environment": "<{ratio:.2f} [{ratio_low:.2f}, {ratio_high:.2f}]",
}


def stepped(env: Any, masks: Sequence[Tensor]) -> Pass:
    """An episode, step by step."""
    state = env.reset()

    def episode() -> object:
        nonlocal state
        for mask in masks:
            done, state = env.step_and_maybe_reset(state.set("action", mask))
        return done

    return episode


def rolled(env: Any, masks: Sequence[Tensor]) -> Pass:
    """An episode by TorchRL's own loop, which keeps every TensorDict."""
    drawn = itertools.cycle(masks)

    def policy(tensordict: Any) -> Any:
        return tensordict.set("action", next(drawn))

    return lambda: env.rollout(len(masks), policy)


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """All views at all sizes; quick: the fewest rows.

    Raises:
        ValueError: if TorchRL is not installed.
    """
    try:
        from ccenv.envs.torchrl_view import BlockSelectionEnv
    except ImportError as error:
        raise ValueError(str(error)) from error
    network = make_network()
    settings: dict[str, Any] = {"dataset": noise, "network": network}
    for rows in SIZES[:1] if quick else SIZES:
        masks = draw_masks(rows)
        ways = {
            VECTOR: env_episode(BlockSelectionVectorEnv(rows, **settings), masks),
            TENSORS: stepped(BlockSelectionEnv(rows, seed=0, **settings), masks),
            ROLLOUT: rolled(BlockSelectionEnv(rows, seed=0, **settings), masks),
        }
        with torch.no_grad():
            times = seconds_in_turns(ways, rounds, 0.02 if quick else 0.2, work_clock())
        for view, own in times.items():
            low, middle, high = quartiles_of_ratio(times[VECTOR], own)
            yield {
                "view": view,
                "rows": rows,
                "images_per_second": rows / statistics.median(own),
                "ratio": middle,
                "ratio_low": low,
                "ratio_high": high,
            }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rates in Markdown."""
    return formatted(COLUMNS, rows)


TORCHRL = benchmark(
    "torchrl",
    "TorchRL's view beside the vector environment",
    measured,
    table,
    kind="torchrl-rates",
    recorded_as="torchrl-rates",
    notes=NOTES,
    names_machine=False,
)
