"""What may be written while requests are answered: a record of it, and its figure.

Gates that learn (`dynamic_gate`, 4 of 16 blocks of both layers) in a network that learns along, on
the bundled digits, with so many requests under way together: the share of blocks that are off for
all of them, and the test error where only those may be written, where anything may, and where
nothing of the network is. Equal numbers of images, so fewer updates where requests are many.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ccenv.agents.dynamic_gate import DynamicGate
from ccenv.networks.core.parameters import share_off
from ccenv.runs.experiment import Experiment
from ccenv.runs.tables.drawing import (
    INK,
    Drawn,
    legend_below,
    legend_height,
    look,
    new_figure,
)
from ccenv.simulator.concurrent import KINDS
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.settings import make_simulator

NAME = "concurrency"
"""Kind and name of the result."""
BLOCKS, KEPT, IMAGES = 16, 4, 4_000
REQUESTS = (2, 4, 8, 16, 32)
SHOWN = 64
"""Groups of requests over which a share is averaged."""
SETTINGS: dict[str, Any] = {
    "dataset": "digits",
    "num_blocks": (BLOCKS, BLOCKS),
    "block_size": 4,
    "weights": "cotrain",
    "weights_kwargs": {"learning_rate": 0.005},
}
LEGEND = {
    "inactive": "what is off for all learns",
    "unsafe": "everything learns",
    "policy": "only gates learn",
}
Row = Mapping[str, Any]


def measured(requests: Sequence[int] = REQUESTS, images: int = IMAGES) -> Iterator[dict[str, Any]]:
    """A row for each kind of update and number of requests.

    Args:
        requests: under way together.
        images: that are learned from.
    """
    for kind in KINDS:
        for rows in requests:
            simulator = make_simulator(rows, {**SETTINGS, "concurrent": kind})
            simulator.seed(0)
            agent = DynamicGate(simulator, num_kept=KEPT)
            agent.learn(images)
            judged = evaluate(simulator, agent, sample=False)
            groups = zip(*(mask.split(rows) for mask in judged.masks), strict=True)
            whole = [group for group in groups if len(group[0]) == rows]
            shares = [share_off(simulator.network, group) for group in whole[:SHOWN]]
            share = sum(shares) / len(shares)
            yield {"kind": kind, "requests": rows, "share_off": share, "error": judged.error}


def by_chance(requests: float) -> float:
    """Share of blocks that none of so many requests keeps, each k of n by chance.

    >>> by_chance(1), by_chance(2)
    (0.75, 0.5625)
    """
    return float((1 - KEPT / BLOCKS) ** requests)


def concurrency_figure(rows: Sequence[Row]) -> Drawn:
    """What is off for all over the requests under way, and what is learned so."""
    names = [*LEGEND.values(), "off by chance"]
    figure = new_figure(2.4 + legend_height(names))
    left, right = figure.subplots(1, 2)
    lines = []
    for place, kind in enumerate(LEGEND):
        own = [row for row in rows if row["kind"] == kind]
        at, style = [row["requests"] for row in own], look(place) | {"ms": 3, "lw": 1.2}
        left.plot(at, [row["share_off"] for row in own], **style)
        lines += right.plot(at, [100 * row["error"] for row in own], **style)
    at = sorted({row["requests"] for row in rows})
    lines += left.plot(at, [by_chance(number) for number in at], color=INK, ls="--", lw=0.8)
    left.set(ylabel="share of blocks off for all")
    right.set(ylabel="test error %")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="requests under way")
        axes.set_xticks(at, [str(number) for number in at])
        axes.minorticks_off()
    legend_below(figure, lines, names)
    said = "; ".join(
        f"{row['kind']}, {row['requests']} requests: {row['share_off']:.2f} off, error "
        f"{row['error']:.1%}"
        for row in rows
    )
    return Drawn(figure, "shares", "What may be written, and what is learned so.", said)


CONCURRENCY = Experiment(
    name=NAME,
    about="what may be written while requests are answered",
    run=lambda options: measured(),
    columns={
        "updates": "<{updates}",
        "requests": ">{requests}",
        "off for all": ">{share_off:.2f}",
        "error %": ">{error!p:.1f}",
    },
    shown=lambda row: {"updates": LEGEND[row["kind"]]},
    settings={**SETTINGS, "num_kept": KEPT, "images": IMAGES},
    figure=concurrency_figure,
)
