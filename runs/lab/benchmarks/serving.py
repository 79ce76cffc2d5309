"""Load and latency of an exported run: (rates of inputs) -> percentiles, refusals.

Inputs arrive at random moments (Poisson) whether or not earlier ones are answered, as from many
users: at micro-batches in this process (`micro-batches`), or at `ccenv serve` in another one, each
by a connection of its own (`serving`). A load is held where nothing is refused.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.micro_batches import BusyError, Classify, MicroBatches
from ccenv.runs.commands.frame import takes_trust
from ccenv.runs.lab.experiment import Experiment, Options, Row
from ccenv.runs.store.untrusted_files import exported_file

ANSWERED, REFUSED, LOST = 200, 503, 0
PATIENCE = 30.0
"""Seconds after which a request is given up."""


def arrivals(rate: float, seconds: float) -> list[float]:
    """Seconds from the beginning at which inputs arrive, so many a second on the mean."""
    gaps = torch.empty(max(1, round(rate * seconds)))
    gaps.exponential_(rate, generator=stream(0, "arrivals"))
    moments: list[float] = gaps.double().cumsum(0).tolist()
    return moments


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The 50th, 95th and 99th percentile in milliseconds; 0 of nothing."""
    shares = torch.tensor([0.5, 0.95, 0.99], dtype=torch.float64)
    times = torch.tensor(seconds or [0.0], dtype=torch.float64)
    found = (1e3 * times.quantile(shares)).tolist()
    return dict(zip(("p50", "p95", "p99"), found, strict=True))


def under_load(
    classify: Classify, images: Tensor, rate: float, seconds: float, **limits: float
) -> Row:
    """Sends inputs, so many a second, to micro-batches at random moments.

    A row says the `rate` that was meant to arrive, and what did (`arrived`; below the rate, who
    sends them was too slow); answers a second (`served`), share `refused`, inputs of a batch
    (`mean_batch`), and percentiles of the times of those that were served.
    """
    moments = arrivals(rate, seconds)
    took: list[float] = []
    refused, start = 0, time.perf_counter()
    with MicroBatches(classify, **limits) as batches:  # type: ignore[arg-type]
        for number, moment in enumerate(moments):
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
    return {
        "rate": rate,
        "arrived": len(moments) / sent,
        "served": len(took) / (time.perf_counter() - start),
        "refused": refused / len(moments),
        "mean_batch": batches.num_inputs / batches.num_batches,
        **percentiles(took),
    }


@contextmanager
def served(place: Path, words: Sequence[str]) -> Iterator[str]:
    """A server in a process of its own: its address."""
    command = [sys.executable, "-m", "ccenv", "serve", str(place), "--port", "0", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def asked(host: str, port: int, request: bytes) -> int:
    """Sends a request and reads what comes: its status, `LOST` for none."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(request)
            answer = await reader.read()
        finally:
            writer.close()
        return int(answer.split(b" ", 2)[1])
    except (OSError, IndexError, ValueError):
        return LOST


async def server_under_load(
    address: str, bodies: Sequence[bytes], rate: float, seconds: float
) -> Row:
    """Sends requests to a server at random moments; as `under_load`, what did arrive as `sent`.

    Shares got 503 (`refused`) and nothing (`lost`: connections that broke, or took too long). Times
    are from asking for a connection to the answer; of refusals the 99th percentile.
    """
    place = urlsplit(address)
    host, port = place.hostname or "", place.port or 0
    head = f"POST {place.path} HTTP/1.0\r\nContent-Length: "
    requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
    moments = arrivals(rate, seconds)
    took: dict[int, list[float]] = {ANSWERED: [], REFUSED: []}
    statuses: Counter[int] = Counter()
    start = time.perf_counter()

    async def one(number: int) -> None:
        begun = time.perf_counter()
        request = asked(host, port, requests[number % len(requests)])
        try:
            status = await asyncio.wait_for(request, PATIENCE)
        except TimeoutError:
            status = LOST
        statuses[status] += 1
        took.setdefault(status, []).append(time.perf_counter() - begun)

    async with asyncio.TaskGroup() as group:
        for number, moment in enumerate(moments):
            await asyncio.sleep(max(0.0, start + moment - time.perf_counter()))
            group.create_task(one(number))
        sent = time.perf_counter() - start
    count = len(moments)
    return {
        "rate": rate,
        "sent": count / sent,
        "answered": statuses[ANSWERED] / (time.perf_counter() - start),
        "refused": statuses[REFUSED] / count,
        "lost": 1 - (statuses[ANSWERED] + statuses[REFUSED]) / count,
        **percentiles(took[ANSWERED]),
        "refused_p99": percentiles(took[REFUSED])["p99"],
    }


def exported(options: Options) -> tuple[SkippingClassifier, Tensor]:
    """What options name, and random inputs for it; of real ones a policy may keep more."""
    classifier = SkippingClassifier.load(exported_file(options.place), trust=options.trust)
    images = torch.rand(64, *classifier.prepare.shape, generator=stream(0, "serving"))
    return classifier, images.long() if classifier.prepare.are_symbols else images


def batch_rows(options: Options) -> Iterator[Row]:
    """Micro-batches of an exported run under rising loads."""
    classifier, images = exported(options)
    limits = {"max_batch": options.max_batch, "max_wait": options.max_wait / 1e3}
    limits["max_pending"] = options.max_pending
    classifier(images[: options.max_batch])
    for rate in options.rates:
        yield under_load(classifier, images, rate, options.seconds, **limits)


def server_rows(options: Options) -> Iterator[Row]:
    """`ccenv serve` under rising loads."""
    bodies = [json.dumps(image.flatten().tolist()).encode() for image in exported(options)[1]]
    words = [word for module in options.trust for word in ("--trust", module)]
    words += ["--max-pending", str(options.max_pending)]
    with served(options.place, words) as address:
        # The first answers compile.
        asyncio.run(server_under_load(address, bodies, 20.0, 1.0))
        for rate in options.rates:
            yield asyncio.run(server_under_load(address, bodies, rate, options.seconds))


def options_of(
    rates: list[int], seconds: float, pending: int, *, batches: bool
) -> Callable[[argparse.ArgumentParser], None]:
    """Adds what is loaded, and how much."""

    def add_options(parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("place", type=Path, help="a run's folder (--export), or the file it left")
        add("--rates", type=float, nargs="+", default=rates)
        add("--seconds", type=float, default=seconds)
        add("--max-pending", type=int, default=pending)
        if batches:
            add("--max-batch", type=int, default=32)
            add("--max-wait", type=float, default=2.0, metavar="MS")
        takes_trust(parser, "the file names")

    return add_options


MICRO_BATCHES = Experiment(
    name="micro-batches",
    about="latency of an exported run's micro-batches as inputs arrive faster",
    run=batch_rows,
    columns={
        "inputs a second": ">{rate:,.0f}",
        "arrived": ">{arrived:,.0f}",
        "answered a second": ">{served:,.0f}",
        "refused": ">{refused:.1%}",
        "mean batch": ">{mean_batch:.1f}",
        "p50 ms": ">{p50:.2f}",
        "p95 ms": ">{p95:.2f}",
        "p99 ms": ">{p99:.2f}",
    },
    add_options=options_of([100, 300, 1000, 3000, 10_000], 5.0, 256, batches=True),
)
SERVING = Experiment(
    name="serving",
    about="what `ccenv serve` answers another process as requests come faster",
    run=server_rows,
    columns={
        "asked a second": ">{rate:,.0f}",
        "sent": ">{sent:,.0f}",
        "answered a second": ">{answered:,.0f}",
        "refused (503)": ">{refused:.1%}",
        "lost": ">{lost:.1%}",
        "p50 ms": ">{p50:.1f}",
        "p95 ms": ">{p95:.1f}",
        "p99 ms": ">{p99:.1f}",
        "refused in, p99 ms": ">{refused_p99:.1f}",
    },
    add_options=options_of([100, 300, 600, 1200, 2400], 10.0, 64, batches=False),
)
