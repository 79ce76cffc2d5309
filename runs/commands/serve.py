"""A small server: ccenv serve FOLDER_OR_FILE -> answers over HTTP, in micro-batches.

Routes and limits: `ccenv.deploy.serving`. One thread talks to all clients, another computes.
"""

import argparse
import socket
from collections.abc import Sequence
from pathlib import Path

from ccenv.runs.commands.frame import program, takes_trust
from ccenv.runs.store.untrusted_files import exported_file


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
    try:
        import uvicorn

        from ccenv.deploy.serving import HttpService
    except ImportError as error:
        raise ValueError(
            f'expected starlette and uvicorn, got {error}; run pip install "ccenv[serve]"'
        ) from error
    from ccenv.deploy.export import SkippingClassifier
    from ccenv.deploy.micro_batches import MicroBatches

    classifier = SkippingClassifier.load(exported_file(options.place), trust=options.trust)
    batches = MicroBatches(
        classifier,
        max_batch=options.max_batch,
        max_wait=options.max_wait / 1e3,
        max_pending=options.max_pending,
    )
    address = (options.host, options.port)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with batches, socket.create_server(address, family=family) as listener:
        # Head and body of an answer are two packets: the second must not wait for a receipt.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"http://{options.host}:{listener.getsockname()[1]}/classify", flush=True)
        uvicorn.Server(HttpService(classifier, batches).config()).run(sockets=[listener])
    # Only a signal ends it, which whoever calls this may have taken to himself.
    raise KeyboardInterrupt
