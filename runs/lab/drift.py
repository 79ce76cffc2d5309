"""Error along a stream of digits that drifts, by what lands while requests are answered -> rows.

Each batch is answered before it is learned. The policy, `dynamic_gate`, learns all the time; the
network learns between batches, by updates that land between gates, or no longer.
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ccenv.agents.systems.dynamic_gate import DynamicGate
from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.tables.drawing import COLORS, Drawn, legend_below, legend_height, new_figure
from ccenv.simulator.simulator import Simulator

BATCH = 16
KEPT = 4
SETTINGS = {
    "dataset": "mnist@drift",
    "transforms": ["halve"],
    "num_blocks": [16, 16, 16],
    "block_size": 16,
    "observation": "summary",
    "weights": "cotrain",
    "weights_kwargs": {"learning_rate": 0.002},
}
KINDS = {
    "between batches": None,
    "unsafe": "unsafe",
    "inactive": "inactive",
    "frozen": None,
}
"""What the network's updates do -> `concurrent`; frozen: they end."""
FROZEN_FROM = 0.25
"""Share of the stream behind which the frozen network learns no more."""
PIECES = 16
"""Of the stream, whose mean errors are told."""


def errors_of(kind: str, images: int, seed: int) -> list[float]:
    """Errors of each batch of a stream, before it was learned."""
    simulator = Simulator(BATCH, **SETTINGS, concurrent=KINDS[kind])
    simulator.seed(seed)
    agent = DynamicGate(simulator, seed=seed, num_kept=KEPT)
    errors: list[float] = []

    def listen(images_seen: int, scalars: dict[str, float]) -> None:
        errors.append(scalars["episode/error"])
        if kind == "frozen" and images_seen >= FROZEN_FROM * images:
            for group in simulator.trainer.optimizer.param_groups:
                group["lr"] = 0.0

    agent.learn(images, listen)
    return errors


def add_options(parser: argparse.ArgumentParser) -> None:
    """How long."""
    parser.add_argument("--images", type=int, default=25_600, help="of the stream")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind")


def measured(options: Options) -> Iterator[Row]:
    """A row for each kind."""
    for kind in KINDS:
        runs = [errors_of(kind, options.images, seed) for seed in range(options.seeds)]
        pieces = np.array_split(np.array(runs), PIECES, axis=1)
        means = np.stack([piece.mean(axis=1) for piece in pieces], axis=1)
        behind = means[:, round(FROZEN_FROM * PIECES) :].mean(axis=1)
        yield {
            "kind": kind,
            "images": options.images,
            "pieces": means.tolist(),
            "errors": behind.tolist(),
        }


def shown(row: Row) -> dict[str, Any]:
    """Mean and range over the seeds."""
    errors = row["errors"]
    return {"mean": float(np.mean(errors)), "least": min(errors), "most": max(errors)}


def drawn(rows: Sequence[Row]) -> Drawn:
    """A line for each kind: errors along the stream, with the range over the seeds."""
    labels = [row["kind"] for row in rows]
    figure = new_figure(2.2 + legend_height(labels))
    axes = figure.add_subplot()
    for row, color in zip(rows, COLORS, strict=False):
        errors = 100 * np.array(row["pieces"])
        places = (np.arange(errors.shape[1]) + 0.5) * row["images"] / errors.shape[1]
        axes.plot(places, errors.mean(axis=0), color=color, label=row["kind"])
        axes.fill_between(places, errors.min(axis=0), errors.max(axis=0), color=color, alpha=0.2)
    axes.set(xlabel="images of the stream", ylabel="error % before learning", ylim=(0.0, None))
    legend_below(figure, *axes.get_legend_handles_labels())
    caption = "Error along a stream whose classes change, by when updates of the network land."
    ends = "; ".join(f"{row['kind']}: {shown(row)['mean']:.1%}" for row in rows)
    return Drawn(figure, "errors", caption, ends)


DRIFT = Experiment(
    name="drift",
    about="error along a stream of digits that drifts, by what lands while requests are answered",
    run=measured,
    columns={
        "updates of the network": "<{kind}",
        "error %": ">{mean:.1%}",
        "least": ">{least:.1%}",
        "most": ">{most:.1%}",
    },
    shown=shown,
    settings={"batch_size": BATCH, "num_kept": KEPT, "frozen_from": FROZEN_FROM, **SETTINGS},
    add_options=add_options,
    key=("kind",),
    figure=drawn,
)
