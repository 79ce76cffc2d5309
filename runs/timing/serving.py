"""Load and latency of micro-batches: (exported run, inputs a second) -> percentiles, refusals.

    python -m ccenv.runs.timing.serving FOLDER_OR_FILE --rates 100 1000 10000

Inputs arrive at random moments (Poisson) whether or not earlier ones are answered, as from many
users; without HTTP, which this measures nothing of. A load is held where nothing is refused.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.micro_batches import BusyError, Classify, MicroBatches
from ccenv.runs.programs import program
from ccenv.runs.store.exported import exported_file


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
    shares = torch.tensor([0.5, 0.95, 0.99], dtype=torch.float64)
    p50, p95, p99 = (1e3 * torch.tensor(took, dtype=torch.float64).quantile(shares)).tolist()
    mean = batches.num_inputs / batches.num_batches
    return Load(rate, count / sent, len(took) / whole, refused / count, mean, p50, p95, p99)


def line(load: Load) -> str:
    """One row of the printed table."""
    return (
        f"{load.rate:9.0f} {load.arrived:9.0f} {load.served:9.0f} {load.refused:8.1%} "
        f"{load.mean_batch:6.1f} {load.p50:8.2f} {load.p95:8.2f} {load.p99:8.2f}"
    )


HEAD = f"{'rate':>9} {'arrived':>9} {'served':>9} {'refused':>8} {'batch':>6} " + " ".join(
    f"{name:>8}" for name in ("p50 ms", "p95 ms", "p99 ms")
)


@program("serving")
def main(arguments: Sequence[str] | None = None) -> int:
    """Measures micro-batches of an exported run under rising loads; see --help."""
    parser = argparse.ArgumentParser(prog="serving", description=main.__doc__)
    parser.add_argument("place", type=Path, help="a run's folder (--export), or the file it left")
    parser.add_argument("--rates", type=float, nargs="+", default=[100, 300, 1000, 3000, 10000])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--max-wait", type=float, default=2.0, metavar="MS")
    parser.add_argument("--max-pending", type=int, default=256)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    classifier = SkippingClassifier.load(exported_file(options.place))
    dtype = torch.int64 if classifier.prepare.are_symbols else torch.float32
    shape = (64, *classifier.prepare.shape)
    # Random inputs; a policy keeps of them what it keeps, so that real ones may take longer.
    images = torch.rand(shape, generator=stream(0, "serving")).to(dtype)
    limits = {"max_batch": options.max_batch, "max_wait": options.max_wait / 1e3}
    limits["max_pending"] = options.max_pending
    classifier(images[: options.max_batch])
    print(HEAD)
    for rate in options.rates:
        print(line(under_load(classifier, images, rate, options.seconds, **limits)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
