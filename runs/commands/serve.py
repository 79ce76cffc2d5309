"""A small server: ccenv serve FOLDER_OR_FILE -> answers over HTTP, in micro-batches.

    POST /classify   one input's numbers as JSON -> {"answer": 3, "logits": [...]}
    GET /health      {"batches": 12, "mean_batch": 3.4}

400: not such an input. 503 with Retry-After: too many wait, or too much is being read. An example:
no encryption, no users.

One thread talks to all clients, another computes. A thread a connection would be the usual way in
Python; but hundreds of them take turns so slowly that who comes is neither answered nor refused.
"""

import argparse
import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.micro_batches import BusyError, MicroBatches
from ccenv.runs.commands.frame import program, takes_trust
from ccenv.runs.store.untrusted_files import exported_file

LONGEST, PER_NUMBER, BESIDE = 1 << 24, 64, 1 << 16
"""Bytes of a body at most: of any, for each number of an input, and beside these."""
UNDER_WAY = 1 << 26
"""Bytes of all bodies together that are read and not yet inputs; more are refused (503)."""
PATIENCE = 30.0
"""Seconds that a request waits for its answer, or for its body."""
BRIEF, FIRST = 1.0, 1 << 16
"""Seconds that a request that is refused has to say something, and bytes that are read of it."""
BACKLOG = 1024
"""Connections that the system keeps until they are looked at."""
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}
Answer = tuple[int, dict[str, Any]]
"""Status and content."""


def input_of(body: bytes, classifier: SkippingClassifier) -> Tensor:
    """Reads one input, flat or in its shape: a tensor of its shape.

    Raises:
        ValueError: if it is none: other than finite numbers, or than whole ones for symbols.
    """
    are_symbols = classifier.prepare.are_symbols
    try:
        # JSON of Python's has NaN and infinity, and 1e400 is read as the latter.
        numbers = torch.tensor(json.loads(body), dtype=torch.float64)
        image = numbers.to(torch.int64 if are_symbols else torch.float32)
        if not bool((image == numbers if are_symbols else image.isfinite()).all()):
            raise ValueError(f"they are not all {'whole' if are_symbols else 'finite'}")
        return image.reshape(classifier.prepare.shape)
    except (TypeError, ValueError, RuntimeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"expected one input {list(classifier.prepare.shape)} as JSON numbers: {error}"
        ) from error


class Server:
    """Answers of one classifier."""

    def __init__(self, classifier: SkippingClassifier, batches: MicroBatches) -> None:
        """Takes what computes."""
        self.classifier, self.batches = classifier, batches
        self.most = batches.max_pending + 2 * batches.max_batch
        """connections that are listened to: those that wait, are computed, or come and go."""
        numbers = math.prod(classifier.prepare.shape)
        self.longest = min(LONGEST, BESIDE + PER_NUMBER * numbers)
        """bytes of a body."""
        self.under_way = 0
        """bytes of bodies that are being read."""
        self.open: set[asyncio.Task[Any]] = set()
        """connections, those that are refused too."""
        self.busy = 0
        """connections that are listened to."""

    async def serve(self, host: str, port: int) -> None:
        """Listens until it is cancelled; who has connected by then is answered."""
        server = await asyncio.start_server(self.talk, host, port, backlog=BACKLOG)
        print(f"http://{host}:{server.sockets[0].getsockname()[1]}/classify", flush=True)
        try:
            await server.serve_forever()
        finally:
            server.close()
            if self.open:
                await asyncio.wait(self.open, timeout=PATIENCE)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request and its answer."""
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        task.add_done_callback(self.open.discard)
        try:
            if self.busy < self.most:
                self.busy += 1
                try:
                    status, content = await self.answer(reader)
                finally:
                    self.busy -= 1
            else:
                # Not parsed: refusing must cost less than answering.
                await asyncio.wait_for(reader.read(FIRST), BRIEF)
                status, content = 503, {"error": f"{self.most} are connected; try again later"}
            writer.write(reply(status, content))
            await writer.drain()
        except (OSError, EOFError):
            pass  # The client has gone, or says nothing.
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader) -> Answer:
        """Reads a request and computes its answer.

        Raises:
            EOFError: if the client ends before its request does.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                asked, length = await head_of(reader)
                if asked == "GET /health":
                    count = self.batches.num_batches
                    mean = self.batches.num_inputs / max(1, count)
                    return 200, {"batches": count, "mean_batch": mean}
                if asked != "POST /classify":
                    return 404, {"error": f"expected GET /health or POST /classify, got {asked}"}
                image = await self.input(reader, length)
            waiting = self.batches.submit(image)
            logits = await asyncio.wait_for(asyncio.wrap_future(waiting), PATIENCE)
        except (BusyError, TimeoutError) as error:
            return 503, {"error": str(error) or "no answer in time"}
        except ValueError as error:
            return 400, {"error": str(error)}
        return 200, {"answer": int(logits.argmax()), "logits": logits.tolist()}

    async def input(self, reader: asyncio.StreamReader, length: int) -> Tensor:
        """Reads a body of so many bytes, unless too many are being read.

        Raises:
            ValueError: if it is too long, or no input.
            BusyError: if bodies that other clients have begun fill the memory for them.
            EOFError: if it ends too early.
        """
        if length > self.longest:
            raise ValueError(f"expected a body of at most {self.longest} bytes, got {length}")
        # Counted before it comes: a body that is never finished holds what was read of it.
        if self.under_way + length > UNDER_WAY:
            raise BusyError(f"{self.under_way} bytes are being read; try again later")
        self.under_way += length
        try:
            return input_of(await reader.readexactly(length), self.classifier)
        finally:
            self.under_way -= length


async def head_of(reader: asyncio.StreamReader) -> tuple[str, int]:
    """Reads a request's head: its method and path, and the bytes of its body.

    Raises:
        ValueError: if it is none, or its body too long for any input.
        EOFError: if it ends too early.
    """
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.LimitOverrunError as error:
        raise ValueError(f"expected shorter headers: {error}") from error
    fields = dict(line.lower().split(":", 1) for line in head[1:] if ":" in line)
    length = fields.get("content-length", "0").strip()
    if not length.isdecimal() or len(length) > len(str(LONGEST)):
        raise ValueError(f"expected a body of at most {LONGEST} bytes, got {length[:20]!r}")
    return " ".join(head[0].split()[:2]), int(length)


def reply(status: int, content: dict[str, Any]) -> bytes:
    """An answer as it is sent."""
    body = json.dumps(content).encode()
    again = "Retry-After: 1\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.0 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{again}\r\n"
    )
    return head.encode() + body


@program("ccenv serve", stopped="stopped; what waited was answered")
def main(arguments: Sequence[str] | None = None) -> int:
    """Answers over HTTP by an exported run, until Ctrl-C; see --help."""
    parser = argparse.ArgumentParser(
        prog="ccenv serve", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("place", type=Path, help="a run's folder (--export), or the file it left")
    parser.add_argument("--host", default="127.0.0.1", help="this machine alone by default")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-batch", type=int, default=32, help="inputs computed together")
    parser.add_argument("--max-wait", type=float, default=2.0, metavar="MS")
    parser.add_argument("--max-pending", type=int, default=256, help="more are refused (503)")
    takes_trust(parser, "the file names")
    options = parser.parse_args(arguments)
    classifier = SkippingClassifier.load(exported_file(options.place), trust=options.trust)
    with MicroBatches(
        classifier,
        max_batch=options.max_batch,
        max_wait=options.max_wait / 1e3,
        max_pending=options.max_pending,
    ) as batches:
        asyncio.run(Server(classifier, batches).serve(options.host, options.port))
    return 0
