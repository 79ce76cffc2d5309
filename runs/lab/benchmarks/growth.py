"""How time and memory grow: (width, depth, blocks or batch of a network) -> ms and MiB of a pass.

Each point is measured in a process of its own, forked from this one: its peak is the point's alone.
"""

import functools
import math
import multiprocessing
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from ccenv.base.clock import seconds_in_turns, work_clock
from ccenv.base.seeding import stream
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import dense_forward, forward, num_blocks_of
from ccenv.networks.vision.residual import resnet
from ccenv.runs.lab.benchmarks.network_rates import peak_mib
from ccenv.runs.lab.benchmarks.network_speed import FORWARD, TRAINED, in_mode
from ccenv.runs.lab.benchmarks.subjects import each_block
from ccenv.runs.speed.benchmark import benchmark
from ccenv.runs.speed.kernels import Row
from ccenv.runs.speed.networks import as_pass
from ccenv.runs.store.provenance import load_average
from ccenv.runs.tables.drawing import (
    COLORS,
    INK,
    Drawn,
    legend_below,
    legend_height,
    new_figure,
    plain_logarithms,
)

SECONDS = 0.03
"""length of one timing."""
MEBIBYTE = 2**20
AXES: dict[str, dict[str, tuple[int, ...]]] = {
    "mlp": {
        "width": (256, 1024, 4096, 16_384),
        "depth": (1, 2, 4, 8, 16),
        "blocks": (4, 16, 64, 256),
        "batch": (1, 16, 64, 256, 1024, 4096),
    },
    "resnet": {"width": (8, 16, 32), "depth": (8, 20, 32, 56), "batch": (1, 16, 64, 256)},
}
"""What grows, while the rest stays as in `BASES`."""
BASES = {
    "mlp": {"width": 1024, "depth": 2, "blocks": 16, "batch": 64},
    "resnet": {"width": 16, "depth": 20, "batch": 64},
}
"""Units of a gated layer, gated layers, blocks of each; channels and layers of CIFAR's networks."""
SHAPES = {"mlp": (1, 28, 28), "resnet": (3, 32, 32)}
"""Of an input."""
NUM_CLASSES = 10
SHARE = {"mlp": 0.25, "resnet": 0.5}
"""Of blocks that are kept, each by itself."""
NOTES = """\
One thread; frozen and packed in a pass, masks given. What does not grow: an MLP of 2 layers of
1,024 units (ReLU) in 16 blocks on 784 inputs, a quarter kept; ResNet-20 of width 16 on 3 x 32 x 32,
half of its units kept; 64 inputs. A training step is forward and backward without an optimiser.
Memory: the process's peak above that after the smallest network of the kind; weights are part of
it."""
COLUMNS = {
    "network": "<{network}",
    "what grows": "<{axis}",
    "to": ">{value:,}",
    "what": "<{way}",
    "ms": ">{milliseconds:,.2f}",
    "dense ms": ">{dense_milliseconds:,.2f}",
    "MiB": ">{mebibytes:,.0f}",
    "weights MiB": ">{weights:,.1f}",
}
WAYS = {FORWARD: "-", TRAINED: ":"}
LONG = 30
"""Times its beginning, an axis has no room for 1, 2 and 5 of every ten."""
LEAST = {"milliseconds": 0.0, "mebibytes": 1.0}
"""What is drawn."""
TITLES = {"milliseconds": "ms", "mebibytes": "MiB"}


@dataclass(frozen=True)
class Point:
    """One network and batch."""

    network: str
    """"mlp" or "resnet"."""
    axis: str
    """what grows: a key of `AXES`."""
    value: int
    """how far."""
    is_training: bool
    """a training step instead of a pass."""

    def sizes(self) -> dict[str, int]:
        """All that makes the network and its batch."""
        return BASES[self.network] | {self.axis: self.value}

    def build(self) -> Any:
        """The network, with initial weights.

        Raises:
            ValueError: if the width cannot be cut into so many blocks.
        """
        sizes = self.sizes()
        if self.network == "resnet":
            return build_network(resnet, 0, depth=sizes["depth"], width=sizes["width"])
        size, rest = divmod(sizes["width"], sizes["blocks"])
        if rest:
            raise ValueError(f"expected a width in equal blocks, got {sizes}")
        blocks = (sizes["blocks"],) * sizes["depth"]
        shape = {"num_blocks": blocks, "block_size": size, "activation": "relu"}
        return build_network(GatedMLP, 0, in_features=math.prod(SHAPES["mlp"]), **shape)


def measure(point: Point, rounds: int) -> Row:
    """Times a point in this process, whose peak before must be what it holds now."""
    before, batch = peak_mib(), point.sizes()["batch"]
    generator, network = stream(0, "kernel operands"), point.build()
    inputs = torch.rand(batch, *SHAPES[point.network], generator=generator)
    labels = torch.randint(NUM_CLASSES, (batch,), generator=generator)
    network.eval().requires_grad_(point.is_training)
    if not point.is_training:
        network.pack()
    draw = each_block(SHARE[point.network])
    masks = draw(batch, num_blocks_of(network), stream(0, "kernel masks"))
    logits: dict[str, Callable[[], Any]] = {
        "gated": functools.partial(forward, network, inputs, masks),
        "dense": functools.partial(dense_forward, network, inputs),
    }
    goal = labels if point.is_training else None
    passes = {
        name: in_mode(as_pass(network, call, goal), point.is_training)
        for name, call in logits.items()
    }
    times = seconds_in_turns(passes, rounds, SECONDS, work_clock())
    middle = {name: 1e3 * statistics.median(found) for name, found in times.items()}
    return {
        "network": point.network,
        "axis": point.axis,
        "value": point.value,
        "way": TRAINED if point.is_training else FORWARD,
        "milliseconds": middle["gated"],
        "dense_milliseconds": middle["dense"],
        "mebibytes": peak_mib() - before,
        "weights": network.memory_bytes() / MEBIBYTE,
        "load_average": load_average(),
    }


def measure_alone(point: Point, rounds: int) -> Row:
    """The same in a process that has just begun: what libraries load is not counted."""
    measure(Point(point.network, "width", min(AXES[point.network]["width"]), point.is_training), 1)
    return measure(point, rounds)


def measured(*, quick: bool, rounds: int) -> Iterator[Row]:
    """All points; quick: the least and the next of each, and no training."""
    fork = multiprocessing.get_context("fork")
    for network, axes in AXES.items():
        for axis, values in axes.items():
            for value in values[:2] if quick else values:
                for is_training in (False,) if quick else (False, True):
                    point = Point(network, axis, value, is_training)
                    with ProcessPoolExecutor(1, mp_context=fork) as alone:
                        yield alone.submit(measure_alone, point, rounds).result()


def growth_figure(rows: Sequence[Row]) -> Drawn:
    """Two columns, time and memory; a row of axes for each thing that grows."""
    names = list(dict.fromkeys(axis for axes in AXES.values() for axis in axes))
    told = [*AXES, "everything kept", TRAINED]
    figure = new_figure(1.35 * len(names) + legend_height(told))
    all_axes = figure.subplots(len(names), 2, squeeze=False)
    for axis, pair in zip(names, all_axes, strict=True):
        for axes, (measure, unit) in zip(pair, TITLES.items(), strict=True):
            lines_of(axes, [row for row in rows if row["axis"] == axis], measure)
            axes.set(xscale="log", yscale="log", xlabel=axis, ylabel=unit)
            ticks(axes.xaxis)
            ticks(axes.yaxis)
            axes.tick_params(labelsize=6)
    plain = all_axes[0][0]
    handles = [plain.plot([], [], color=color)[0] for color in COLORS[: len(AXES)]]
    handles += [plain.plot([], [], color=INK, ls=style)[0] for style in ("--", ":")]
    legend_below(figure, handles, told)
    caption = "Time and memory as networks and batches grow."
    return Drawn(figure, "sizes", caption, f"{caption} {in_words(rows)}")


def ticks(axis: Any) -> None:
    """Ticks in few letters: of a long axis at powers of ten alone."""
    from matplotlib.ticker import LogLocator

    low, high = axis.get_view_interval()
    plain_logarithms(axis)
    if high > LONG * low:
        axis.set_major_locator(LogLocator())


def lines_of(axes: Any, rows: Sequence[Row], measure: str) -> None:
    """Lines of each network: a pass, a training step dotted, and with everything kept dashed."""
    for color, network in zip(COLORS, AXES, strict=False):
        for way, style in WAYS.items():
            own = [row for row in rows if (row["network"], row["way"]) == (network, way)]
            # Of the least networks there is no memory beyond that of the first of them.
            own = sorted((row for row in own if row[measure] >= LEAST[measure]), key=value_of)
            at = [row["value"] for row in own]
            look = {"color": color, "markersize": 2.5, "lw": 1.0}
            axes.plot(at, [row[measure] for row in own], ls=style, marker="o", **look)
            if measure == "milliseconds" and way == FORWARD:
                axes.plot(at, [row[f"dense_{measure}"] for row in own], ls="--", **look)


def value_of(row: Row) -> int:
    """How far it has grown."""
    return int(row["value"])


def in_words(rows: Sequence[Row]) -> str:
    """The ends of each line of passes."""
    found = []
    for network, axes in AXES.items():
        for axis in axes:
            own = [
                r for r in rows if (r["network"], r["axis"], r["way"]) == (network, axis, FORWARD)
            ]
            if own:
                ends = min(own, key=value_of), max(own, key=value_of)
                times = " to ".join(f"{row['milliseconds']:.3g}" for row in ends)
                spans = " to ".join(f"{row['value']:,}" for row in ends)
                found.append(f"{network}, {axis} {spans}: {times} ms")
    return "; ".join(found) + "."


GROWTH = benchmark(
    "sizes",
    "time and memory of a pass and a training step as width, depth, blocks and batch grow",
    measured,
    COLUMNS,
    recorded_as="growth",
    rounds=3,
    notes=NOTES,
    names_machine=False,
    figure=growth_figure,
)
