"""The server under load: (an exported run, rates) -> what `ccenv serve` answers another process.

Requests arrive at random moments whether or not earlier ones are answered, each by a connection of
its own, as from many clients. Times are from the moment at which its connection is asked for.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch

from ccenv.base.seeding import stream
from ccenv.deploy.export import SkippingClassifier
from ccenv.runs.commands.frame import takes_trust
from ccenv.runs.experiment import Experiment, Options, Row
from ccenv.runs.lab.benchmarks.serving import percentiles
from ccenv.runs.store.untrusted_files import exported_file
from ccenv.runs.tables.sweep_table import formatted

ANSWERED, REFUSED, LOST = 200, 503, 0
PATIENCE = 30.0
"""Seconds after which a request is given up."""
COLUMNS = {
    "asked a second": ">{rate:,.0f}",
    "sent": ">{sent:,.0f}",
    "answered a second": ">{answered:,.0f}",
    "refused (503)": ">{refused:.1%}",
    "lost": ">{lost:.1%}",
    "p50 ms": ">{p50:.1f}",
    "p95 ms": ">{p95:.1f}",
    "p99 ms": ">{p99:.1f}",
    "refused in, p99 ms": ">{refused_p99:.1f}",
}


@dataclass(frozen=True)
class Load:
    """What came of requests that arrived at one rate."""

    rate: float
    """requests a second that were meant to arrive."""
    sent: float
    """that did: below the rate, this process was too slow."""
    answered: float
    """answers a second."""
    refused: float
    """share of the requests that got 503."""
    lost: float
    """share without any answer: connections that broke, or took too long."""
    p50: float
    """milliseconds of those that were answered; the median."""
    p95: float
    """95 % were faster."""
    p99: float
    """99 % were faster."""
    refused_p99: float
    """of the refusals; 0 where there were none."""


@contextmanager
def served(place: Path, words: Sequence[str]) -> Iterator[str]:
    """A server in a process of its own: its address."""
    command = [sys.executable, "-m", "ccenv.runs.commands.serve", str(place), "--port", "0", *words]
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


async def under_load(address: str, bodies: Sequence[bytes], rate: float, seconds: float) -> Load:
    """Sends requests at random moments.

    Args:
        address: of the server.
        bodies: sent in turn.
        rate: requests a second.
        seconds: how long.
    """
    place = urlsplit(address)
    host, port = place.hostname or "", place.port or 0
    head = f"POST {place.path} HTTP/1.0\r\nContent-Length: "
    requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
    count = max(1, round(rate * seconds))
    gaps = torch.empty(count).exponential_(rate, generator=stream(0, "arrivals"))
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
        for number, moment in enumerate(gaps.double().cumsum(0).tolist()):
            due = start + moment
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(number))
        sent = time.perf_counter() - start
    whole = time.perf_counter() - start
    p50, p95, p99 = percentiles(took[ANSWERED])
    return Load(
        rate, count / sent, statuses[ANSWERED] / whole, statuses[REFUSED] / count,
        1 - (statuses[ANSWERED] + statuses[REFUSED]) / count, p50, p95, p99,
        percentiles(took[REFUSED])[2],
    )  # fmt: skip


def bodies_of(classifier: SkippingClassifier) -> list[bytes]:
    """Random inputs as JSON."""
    images = torch.rand(64, *classifier.prepare.shape, generator=stream(0, "serving"))
    if classifier.prepare.are_symbols:
        images = images.long()
    return [json.dumps(image.flatten().tolist()).encode() for image in images]


def table(rows: Sequence[dict[str, float]]) -> str:
    """Loads in Markdown."""
    return formatted(COLUMNS, rows)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is served, and the load."""
    parser.add_argument("place", type=Path, help="a run's folder (--export), or the file it left")
    parser.add_argument("--rates", type=float, nargs="+", default=[100, 300, 600, 1200, 2400])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--max-pending", type=int, default=64)
    takes_trust(parser, "the file names")


def measured(options: Options) -> Iterator[Row]:
    """`ccenv serve` under rising loads."""
    bodies = bodies_of(SkippingClassifier.load(exported_file(options.place), trust=options.trust))
    words = [word for module in options.trust for word in ("--trust", module)]
    words += ["--max-pending", str(options.max_pending)]
    with served(options.place, words) as address:
        # The first answers compile.
        asyncio.run(under_load(address, bodies, 20.0, 1.0))
        for rate in options.rates:
            yield asdict(asyncio.run(under_load(address, bodies, rate, options.seconds)))


SERVING = Experiment(
    name="serving",
    about="what `ccenv serve` answers another process as requests come faster",
    measured=measured,
    table=table,
    add_options=add_options,
)
