"""Load and latency of micro-batches: (exported run, inputs a second) -> percentiles, refusals.

Inputs arrive at random moments (Poisson) whether or not earlier ones are answered, as from many
users; without HTTP, which this measures nothing of. A load is held where nothing is refused.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.micro_batches import BusyError, Classify, MicroBatches
from ccenv.runs.commands.frame import takes_trust
from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.store.untrusted_files import exported_file
from ccenv.runs.tables.sweep_table import formatted

COLUMNS = {
    "inputs a second": ">{rate:,.0f}",
    "arrived": ">{arrived:,.0f}",
    "answered a second": ">{served:,.0f}",
    "refused": ">{refused:.1%}",
    "mean batch": ">{mean_batch:.1f}",
    "p50 ms": ">{p50:.2f}",
    "p95 ms": ">{p95:.2f}",
    "p99 ms": ">{p99:.2f}",
}


@dataclass(frozen=True)
class Load:
    """What came of inputs that arrived at one rate."""

    rate: float
    """inputs a second that were meant to arrive."""
    arrived: float
    """inputs a second that did: below the rate, who sends them was too slow."""
    served: float
    """answers a second."""
    refused: float
    """share of the inputs."""
    mean_batch: float
    """inputs of a batch."""
    p50: float
    """milliseconds from arrival to answer, of those that were served; the median."""
    p95: float
    """95 % were faster."""
    p99: float
    """99 % were faster."""


def under_load(
    classify: Classify, images: Tensor, rate: float, seconds: float, **limits: float
) -> Load:
    """Sends inputs at random moments.

    Args:
        classify: see `MicroBatches`.
        images: [n, ...], sent in turn.
        rate: inputs a second.
        seconds: how long.
        **limits: of `MicroBatches`.
    """
    count = max(1, round(rate * seconds))
    gaps = torch.empty(count).exponential_(rate, generator=stream(0, "arrivals"))
    took: list[float] = []
    refused, start = 0, time.perf_counter()
    with MicroBatches(classify, **limits) as batches:  # type: ignore[arg-type]
        for number, moment in enumerate(gaps.double().cumsum(0).tolist()):
            due = start + moment
            if (left := due - time.perf_counter()) > 0:
                time.sleep(left)

            # From when it was due: a late sender must not hide a long wait.
            def answered(_: "Future[Tensor]", due: float = due) -> None:
                took.append(time.perf_counter() - due)

            try:
                batches.submit(images[number % len(images)]).add_done_callback(answered)
            except BusyError:
                refused += 1
        sent = time.perf_counter() - start
    whole = time.perf_counter() - start
    p50, p95, p99 = percentiles(took)
    mean = batches.num_inputs / batches.num_batches
    return Load(rate, count / sent, len(took) / whole, refused / count, mean, p50, p95, p99)


def percentiles(seconds: Sequence[float]) -> list[float]:
    """The 50th, 95th and 99th percentile in milliseconds; 0 of nothing."""
    shares = torch.tensor([0.5, 0.95, 0.99], dtype=torch.float64)
    times = torch.tensor(seconds or [0.0], dtype=torch.float64)
    found: list[float] = (1e3 * times.quantile(shares)).tolist()
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Loads in Markdown."""
    return formatted(COLUMNS, rows)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is loaded, and how much."""
    parser.add_argument("place", type=Path, help="a run's folder (--export), or the file it left")
    parser.add_argument("--rates", type=float, nargs="+", default=[100, 300, 1000, 3000, 10000])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--max-wait", type=float, default=2.0, metavar="MS")
    parser.add_argument("--max-pending", type=int, default=256)
    takes_trust(parser, "the file names")


def measured(options: Options) -> Iterator[Row]:
    """Micro-batches of an exported run under rising loads."""
    classifier = SkippingClassifier.load(exported_file(options.place), trust=options.trust)
    dtype = torch.int64 if classifier.prepare.are_symbols else torch.float32
    shape = (64, *classifier.prepare.shape)
    # Random inputs; a policy keeps of them what it keeps, so that real ones may take longer.
    images = torch.rand(shape, generator=stream(0, "serving")).to(dtype)
    limits = {"max_batch": options.max_batch, "max_wait": options.max_wait / 1e3}
    limits["max_pending"] = options.max_pending
    classifier(images[: options.max_batch])
    for rate in options.rates:
        yield asdict(under_load(classifier, images, rate, options.seconds, **limits))


MICRO_BATCHES = Experiment(
    name="micro-batches",
    about="latency of an exported run's micro-batches as inputs arrive faster",
    measured=measured,
    table=table,
    add_options=add_options,
)
