"""Answers over HTTP: (exported classifier, micro-batches) -> a Starlette application for uvicorn.

    POST /classify   one input's numbers as JSON -> {"answer": 3, "logits": [...]}
    GET /health      {"batches": 12, "mean_batch": 3.4}

400: not such an input. 503 with Retry-After: too many inputs wait, or too many bytes are being
read. An example to start from: no encryption, no users.

    with MicroBatches(classifier) as batches:
        application = HttpService(classifier, batches).application()
"""

import asyncio
import contextlib
import json
import math
from typing import Any

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from torch import Tensor
from uvicorn.protocols.http.h11_impl import H11Protocol

from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.micro_batches import BusyError, MicroBatches

LONGEST, PER_NUMBER, BESIDE = 1 << 24, 64, 1 << 16
"""Bytes of a body at most: of any, for each number of an input, and in addition to these."""
UNDER_WAY = 1 << 26
"""Bytes of all bodies together that are read and not yet inputs; more are refused (503)."""
PATIENCE = 30
"""Seconds that a request may take, body and answer, and that an idle connection stays open."""
SILENCE = 2
"""Seconds without a byte of a refused body, after which no more of it is awaited."""


def read_input(body: bytes, classifier: SkippingClassifier) -> Tensor:
    """Reads one input, flat or in its shape: a tensor of its shape.

    Raises:
        ValueError: if it is none: other than finite numbers, or than symbols of the network.
    """
    are_symbols = classifier.prepare.are_symbols
    try:
        # JSON of Python's has NaN and infinity, and 1e400 is read as the latter.
        numbers = torch.tensor(json.loads(body), dtype=torch.float64)
        image = numbers.to(torch.int64 if are_symbols else torch.float32)
        if not bool((image == numbers if are_symbols else image.isfinite()).all()):
            raise ValueError(f"they are not all {'whole' if are_symbols else 'finite'}")
        image = image.reshape(classifier.prepare.shape)
        classifier.prepare.check_known(image)
        return image
    except (TypeError, ValueError, RuntimeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"expected one input {list(classifier.prepare.shape)} as JSON numbers: {error}"
        ) from error


class HttpService:
    """Answers of one classifier."""

    def __init__(self, classifier: SkippingClassifier, batches: MicroBatches) -> None:
        """Takes the classifier and the micro-batches that call it."""
        self.classifier, self.batches = classifier, batches
        numbers = math.prod(classifier.prepare.shape)
        self.longest = min(LONGEST, BESIDE + PER_NUMBER * numbers)
        """bytes of a body."""
        self.under_way = 0
        """bytes of bodies that are being read."""

    def config(self) -> uvicorn.Config:
        """The application under uvicorn: limits on connections and time, no log but errors."""
        return uvicorn.Config(
            self.application(),
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            # Those that wait, are computed, or come and go; the next one is refused.
            limit_concurrency=self.batches.max_pending + 2 * self.batches.max_batch + 1,
            timeout_graceful_shutdown=PATIENCE,
        )

    def application(self) -> Starlette:
        """The routes, for any ASGI server."""
        refusals = (ValueError, BusyError, TimeoutError, HTTPException, ClientDisconnect)
        return Starlette(
            routes=[
                Route("/classify", self.classify, methods=["POST"]),
                Route("/health", self.health, methods=["GET"]),
            ],
            exception_handlers=dict.fromkeys(refusals, refused),
        )

    async def health(self, request: Request) -> Response:
        """How many batches were computed, and their mean size."""
        count = self.batches.num_batches
        mean = self.batches.num_inputs / max(1, count)
        return JSONResponse({"batches": count, "mean_batch": mean})

    async def classify(self, request: Request) -> Response:
        """The answer to one input."""
        async with asyncio.timeout(PATIENCE):
            image = await self.read(request)
            logits = await asyncio.wrap_future(self.batches.submit(image))
        return JSONResponse({"answer": int(logits.argmax()), "logits": logits.tolist()})

    async def read(self, request: Request) -> Tensor:
        """Reads a body, unless too many bytes are being read.

        Raises:
            ValueError: if it is too long, or no input.
            BusyError: if bodies that other clients have begun fill the memory for them.
        """
        # Counted before it comes: a body that is never finished holds what was read of it.
        length = int(request.headers.get("content-length", self.longest))
        if length > self.longest:
            raise ValueError(f"expected a body of at most {self.longest} bytes, got {length}")
        if self.under_way + length > UNDER_WAY:
            raise BusyError(f"{self.under_way} bytes are being read; try again later")
        self.under_way += length
        try:
            body = bytearray()
            async for part in request.stream():
                body += part
                if len(body) > length:
                    raise ValueError(f"expected a body of at most {length} bytes, got more")
            request.state.is_read = True
            return read_input(bytes(body), self.classifier)
        finally:
            self.under_way -= length


async def refused(request: Request, error: Exception) -> Response:
    """400, 404 or 503 with a sentence; closes the connection: the rest of a body is dropped."""
    status, said, headers = 400, str(error), {"Connection": "close"}
    if isinstance(error, HTTPException):
        asked = f"{request.method} {request.url.path}"
        status, said = 404, f"expected GET /health or POST /classify, got {asked}"
    elif isinstance(error, BusyError | TimeoutError):
        status, said = 503, said or "no answer in time"
        headers["Retry-After"] = "1"
    is_read = getattr(request.state, "is_read", False)
    return (JSONResponse if is_read else EarlyAnswer)({"error": said}, status, headers)


class EarlyAnswer(JSONResponse):
    """An answer before all of a body has come: the rest is dropped, then the connection is closed.

    Were it closed with bytes that were not read, the client would see a reset, not the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, drops the rest, ends."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send(start | {"headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while (await asyncio.wait_for(receive(), SILENCE)).get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b""})


BUSY = json.dumps({"error": "too many connections; try again later"}).encode()
REFUSAL = b"""HTTP/1.1 503 Service Unavailable\r
Content-Type: application/json\r
Content-Length: %d\r
Connection: close\r
Retry-After: 1\r
\r
%b""" % (len(BUSY), BUSY)


class Connection(H11Protocol):
    """A connection that is refused where there are too many, and closed when it asks nothing.

    Uvicorn refuses after it has parsed a request, so that at twice its load it does little else.
    It waits without end for a first request, and for the rest of headers; such connections would
    fill the number of those that it listens to.
    """

    def connection_made(self, transport: Any) -> None:
        """Begins to wait."""
        super().connection_made(transport)
        limit = self.limit_concurrency
        self.is_refused = limit is not None and len(self.connections) > limit
        self.patience = self.loop.call_later(PATIENCE, self.give_up, None)

    def data_received(self, data: bytes) -> None:
        """Answers what is refused without reading what it asks."""
        if not self.is_refused:
            super().data_received(data)
        elif not self.transport.is_closing():
            self.transport.write(REFUSAL)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends waiting."""
        self.patience.cancel()
        super().connection_lost(exc)

    def give_up(self, last: Any) -> None:
        """Closes the connection if no request came since the last one, which is answered."""
        if self.cycle is last and (last is None or last.response_complete):
            self.transport.close()
        else:
            self.patience = self.loop.call_later(PATIENCE, self.give_up, self.cycle)
