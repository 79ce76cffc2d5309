"""Times of a sweep's networks in turns, in one process: python -m runs.timing.front_times SWEEP.

Runs of a sweep are timed one by one, hours apart and beside each other: their milliseconds do not
compare well. How long a pass takes depends on sizes, not on what was learned, wherever training
does not change how many blocks are kept; those rows are timed here with fresh weights, round by
round, and reports read the result in place of the runs' own times.

A pass begins with the bytes of whole images where a data set stores bytes: averaging over 2 x 2
pixels and making floats are in it.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.data import Split, load_split
from ccenv.fused import Pixels, fuse_policy
from ccenv.latency import time_calls
from ccenv.registry import resolve
from ccenv.seeding import stream
from ccenv.simulator import Simulator
from runs import folder as run_folder
from runs.machine import machine, versions
from runs.report import markdown
from runs.rows import MODES
from runs.settings import Plan, make_plan
from runs.sweeps import SWEEPS, Sweep
from runs.sweeps.halved import WHOLE

SET_NUMBER = ("dense", "block_dropout", "rloo", "topk")
"""Agents that keep a number of blocks that is set, k of n at least where draws are ordered."""
Name = tuple[str, str]
"""Label and masks."""
SIZED_BY = ("dataset", "num_blocks", "block_size", "head_units", "observation", "activation")


def plans_by_size(sweep: Sweep) -> dict[str, tuple[Plan, list[str]]]:
    """Sizes -> a plan and the labels of all rows of these sizes; rows that training changes: none.

    Dropout of units is off at test: such a network is timed as the plain one that it is then.
    """
    found: dict[str, tuple[Plan, list[str]]] = {}
    for cell in sweep.cells:
        settings = {**sweep.settings, **cell.settings, "network": "mlp"}
        plan = make_plan(cell.agent, settings)
        if cell.agent not in SET_NUMBER or plan.agent_settings.get("draw") == "independent":
            continue
        own = plan.agent_settings
        kept = [own.get(name) for name in ("num_kept", "always_on", "hidden_units")]
        sizes = [cell.agent, *kept, own.get("keep_probability")]
        key = json.dumps([*sizes, *(plan.environment[name] for name in SIZED_BY)])
        found.setdefault(key, (plan, []))[1].append(cell.label)
    return found


def make_pass(plan: Plan, batch_size: int, masks: str) -> Callable[[], Any] | None:
    """One compiled call of policy and network, None where there is no such call for them.

    Args:
        plan: agent and network.
        batch_size: images of a pass.
        masks: "sampled" or "mode".
    """
    drawn = masks == "sampled"
    group = int(plan.environment["group_size"])
    settings = {k: v for k, v in plan.environment.items() if k not in ("weights_kwargs", "context")}
    simulator = Simulator(group, **settings)
    simulator.seed(0)
    agent = plan.agent_class(simulator, seed=0, **plan.agent_settings)
    shape = simulator.data.image_shape
    images, pixels = images_of(simulator.on_split("test", batch_size).data, plan, batch_size)
    fused = fuse_policy(
        simulator.network.eval(), agent, simulator.observe, shape, drawn=drawn, pixels=pixels
    )
    if fused is None:
        return None
    return (
        partial(fused, images, generator=stream(0, "latency masks"))
        if drawn
        else partial(fused, images)
    )


def images_of(seen: Split, plan: Plan, count: int) -> tuple[Tensor, Pixels | None]:
    """The first test images as they are stored, and what has to be done with their bytes.

    Images that are stored as floats are given as the network sees them.

    Args:
        seen: the test split that the network sees.
        plan: names the data set.
        count: of images; small test splits are gone through again.
    """
    rows = torch.arange(count) % len(seen)
    if seen.images.dtype != torch.uint8 or seen.moves is not None:
        return seen.batch(rows)[0], None
    name = plan.environment["dataset"]
    whole = load_split(WHOLE[name], "test") if name in WHOLE else seen
    window = whole.images.shape[2] // seen.images.shape[2]
    return whole.images.index_select(0, rows), Pixels(window, seen.scale)


def time_front(
    sweep: Sweep, batches: Sequence[int], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Milliseconds of a pass of every row, round by round.

    Args:
        sweep: whose rows.
        batches: images of a pass.
        rounds: of which each times every row once.
        seconds: length of one timing.
    """
    found = list(plans_by_size(sweep).values())
    rows: list[dict[str, Any]] = []
    for images in batches:
        passes = {
            (labels[0], masks): call
            for plan, labels in found
            for masks in MODES
            if (call := make_pass(plan, images, masks)) is not None
        }
        times = warm_seconds_in_turns(passes, rounds, seconds)
        for _, labels in found:
            for masks in MODES:
                own = [float(f"{1e3 * t:.4g}") for t in times.get((labels[0], masks), [])]
                head = {"masks": masks, "batch_size": images, "milliseconds": own}
                rows += [{"label": label, **head} for label in labels if own]
    return rows


def warm_seconds_in_turns(
    passes: Mapping[Name, Callable[[], Any]], rounds: int, seconds: float
) -> dict[Name, list[float]]:
    """Seconds of a call of each function, round by round; each is called once before its turn.

    How often it is called in a turn follows from the least of a few calls, so that what else the
    machine does leaves no function with a single call, whose weights others have pushed out of
    the cache.
    """
    least = {name: min(time_calls(call, 1) for _ in range(5)) for name, call in passes.items()}
    counts = {name: max(1, round(seconds / found)) for name, found in least.items()}
    times: dict[Name, list[float]] = {name: [] for name in passes}
    for _ in range(rounds):
        for name, call in passes.items():
            call()
            times[name].append(time_calls(call, counts[name]))
    return times


def times_path(results_dir: Path, sweep: str) -> Path:
    """Where a sweep's times are recorded."""
    return results_dir / f"{sweep}-times.json"


def recorded_times(path: Path, masks: str) -> dict[str, dict[int, dict[int, float]]] | None:
    """Label -> images of a pass -> {0: median milliseconds}; None where nothing is recorded.

    Rounds are shared by all rows: what else the machine did then slowed all of them.

    Args:
        path: see `times_path`.
        masks: "sampled" or "mode".

    Raises:
        ValueError: if the file was edited by hand.
    """
    if not path.exists():
        return None
    found: dict[str, dict[int, dict[int, float]]] = {}
    for row in run_folder.check_json(path)["rows"]:
        if row["masks"] == masks:
            middle = statistics.median(row["milliseconds"])
            found.setdefault(row["label"], {})[int(row["batch_size"])] = {0: middle}
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Medians of the rounds in Markdown: a line for each row and kind of masks."""
    batches = list(dict.fromkeys(int(row["batch_size"]) for row in rows))
    found: dict[Name, dict[int, str]] = {}
    for row in rows:
        middle = f"{statistics.median(row['milliseconds']):.3f}"
        found.setdefault((row["label"], row["masks"]), {})[int(row["batch_size"])] = middle
    columns = {"row": "left", "masks": "left"}
    columns |= {f"ms of {images}": "right" for images in batches}
    return markdown(columns, [[*n, *(t.get(b, "") for b in batches)] for n, t in found.items()])


def main(arguments: Sequence[str] | None = None) -> int:
    """Times a sweep's networks and records the result; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m runs.timing.front_times", description=main.__doc__
    )
    parser.add_argument("sweep", help="a name in runs.sweeps.SWEEPS, or module:name")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 128, 1024])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=0.01, help="length of one timing")
    parser.add_argument("--results-dir", type=Path, default=Path("runs/results"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        sweep: Sweep = resolve(options.sweep, SWEEPS, "sweep")
        rows = time_front(sweep, options.batches, options.rounds, options.seconds)
    except (ValueError, OSError) as error:
        print(f"runs.timing.front_times: {error}", file=sys.stderr)
        return 2
    head: Mapping[str, Any] = {"kind": "front-times", "name": sweep.name, "images": "as stored"}
    content = {**head, "versions": versions(), "machine": machine(), "rows": rows}
    path = times_path(options.results_dir, sweep.name)
    run_folder.write_text(path, json.dumps(content, indent=1) + "\n")
    print(f"{len(rows)} times of {sweep.name} in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
