"""A small server: ccenv serve FOLDER_OR_FILE -> answers over HTTP, in micro-batches.

    POST /classify   one input's numbers as JSON -> {"answer": 3, "logits": [...]}
    GET /health      {"batches": 12, "mean_batch": 3.4}

400: not such an input. 503 with Retry-After: too many wait, or too many are connected. An example:
no encryption, no users.
"""

import argparse
import contextlib
import json
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.micro_batches import BusyError, MicroBatches
from ccenv.runs.programs import program
from ccenv.runs.store.exported import exported_file

LONGEST = 1 << 24
"""Bytes of a request that are read at most."""
PATIENCE = 30.0
"""Seconds that a request waits for its answer, or for its body."""
BACKLOG = 1024
"""Connections that the system keeps until they are looked at; a full one makes clients try anew
after a second."""
BRIEF, FIRST = 0.01, 1 << 16
"""Seconds for the first bytes of a request that is refused, and how many are read."""
FULL = b"""HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"""


def input_of(body: bytes, classifier: SkippingClassifier) -> Tensor:
    """Reads one input, flat or in its shape: a tensor of its shape.

    Raises:
        ValueError: if it is none.
    """
    dtype = torch.int64 if classifier.prepare.are_symbols else torch.float32
    try:
        image = torch.tensor(json.loads(body), dtype=dtype)
        return image.reshape(classifier.prepare.shape)
    except (TypeError, ValueError, RuntimeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"expected one input {list(classifier.prepare.shape)} as JSON numbers: {error}"
        ) from error


class Handler(BaseHTTPRequestHandler):
    """Answers of one server; `batches` and `classifier` are set by `handler_of`."""

    timeout = PATIENCE
    classifier: ClassVar[SkippingClassifier]
    batches: ClassVar[MicroBatches]

    def do_GET(self) -> None:
        """Says how it is."""
        if self.path != "/health":
            return self._answer(404, {"error": "expected GET /health or POST /classify"})
        count = self.batches.num_batches
        mean = self.batches.num_inputs / max(1, count)
        self._answer(200, {"batches": count, "mean_batch": mean})

    def do_POST(self) -> None:
        """Classifies one input."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/classify" or not length.isdecimal() or int(length) > LONGEST:
            return self._answer(400, {"error": f"expected POST /classify of 1..{LONGEST} bytes"})
        try:
            image = input_of(self.rfile.read(int(length)), self.classifier)
            logits = self.batches.submit(image).result(timeout=PATIENCE)
        except (BusyError, TimeoutError) as error:
            return self._answer(503, {"error": str(error) or "no answer in time"})
        except ValueError as error:
            return self._answer(400, {"error": str(error)})
        self._answer(200, {"answer": int(logits.argmax()), "logits": logits.tolist()})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: a line a request would cost more than an answer."""


def handler_of(classifier: SkippingClassifier, batches: MicroBatches) -> type[Handler]:
    """A class of handlers of one classifier."""
    return type("OwnHandler", (Handler,), {"classifier": classifier, "batches": batches})


class Server(ThreadingHTTPServer):
    """A thread a connection, at most so many; one more is refused before its request is read.

    Threads take turns: with thousands of them nobody is answered, and no refusal is sent in time.
    """

    request_queue_size = BACKLOG

    def __init__(self, address: tuple[str, int], handler: type[Handler], most: int) -> None:
        """Opens the port; `most` connections at a time."""
        self.room = threading.BoundedSemaphore(most)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers in a thread of its own, or refuses."""
        if self.room.acquire(blocking=False):
            return super().process_request(request, client_address)
        with contextlib.suppress(OSError):
            # What has come is read, else closing would take the refusal back.
            request.settimeout(BRIEF)
            request.recv(FIRST)
            request.sendall(FULL)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers, and makes room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()


@program("ccenv serve", stopped="stopped; what waited was answered")
def main(arguments: Sequence[str] | None = None) -> int:
    """Answers over HTTP by an exported run, until Ctrl-C; see --help."""
    parser = argparse.ArgumentParser(prog="ccenv serve", description=main.__doc__)
    parser.add_argument("place", type=Path, help="a run's folder (--export), or the file it left")
    parser.add_argument("--host", default="127.0.0.1", help="this machine alone by default")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-batch", type=int, default=32, help="inputs computed together")
    parser.add_argument("--max-wait", type=float, default=2.0, metavar="MS")
    parser.add_argument("--max-pending", type=int, default=256, help="more are refused (503)")
    options = parser.parse_args(arguments)
    classifier = SkippingClassifier.load(exported_file(options.place))
    with MicroBatches(
        classifier,
        max_batch=options.max_batch,
        max_wait=options.max_wait / 1e3,
        max_pending=options.max_pending,
    ) as batches:
        # Those that wait, and those whose answers are computed or sent.
        most = options.max_pending + 2 * options.max_batch
        handler = handler_of(classifier, batches)
        with Server((options.host, options.port), handler, most) as server:
            print(f"http://{options.host}:{server.server_port}/classify", flush=True)
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
