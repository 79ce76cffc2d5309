"""Ray as an engine: tasks -> outcomes from an existing cluster, or from one started here."""

import math
import os
import socket
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any
from urllib.parse import urlsplit

from ccenv.base.registry import check_names
from ccenv.runs.engine.machines.engines import Engine, Setup, library
from ccenv.runs.engine.machines.pool import Outcome, Task
from ccenv.runs.engine.machines.remote import Delivery, accept, carry_out, needs, order_of, refusal
from ccenv.runs.store.provenance import num_cores

ADDRESS = "address"
LOCAL = "local"
"""Starts a cluster here, whatever the environment says."""
RETRIES = 2
"""Times that a run is started again when its worker or node dies."""
PATIENCE = 10.0
"""Seconds in which a cluster's door must open."""


@contextmanager
def opened(setup: Setup) -> Iterator[Engine]:
    """Connects to a cluster, or starts one of this machine's cores, and leaves it at the end.

    Raises:
        ValueError: if Ray is missing, nothing is reached, or a node has another ccenv.
    """
    ray = library("ray", "ray")
    check_names(setup.options, [ADDRESS], "option of ray")
    address = str(setup.options.get(ADDRESS) or os.environ.get("RAY_ADDRESS") or LOCAL)
    with redirect_stdout(sys.stderr):
        # Ray says there what becomes of its nodes; what is printed for other programs is no place.
        yield from connected(ray, address, setup)


def connected(ray: Any, address: str, setup: Setup) -> Iterator[Engine]:
    """The engine of a cluster that is joined, and left at the end."""
    connect(ray, address, setup.num_jobs)
    try:
        nodes = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU")]
        check_nodes(ray, nodes, setup)
        cores = int(sum(node["Resources"]["CPU"] for node in nodes))
        plural = "" if len(nodes) == 1 else "s"
        where = "a cluster of its own" if address == LOCAL else f"the cluster {address}"
        yield Engine(
            min(cores, setup.num_jobs or cores),
            f"Ray, {where}: {len(nodes)} node{plural}, {cores} cores",
            lambda tasks: run_all(ray, tasks, nodes, setup),
        )
    finally:
        ray.shutdown()


def connect(ray: Any, address: str, num_jobs: int | None) -> None:
    """Joins a cluster or starts one; nothing of Ray's is printed."""
    # A cluster that is started here reports its use to Ray's makers unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        cores = num_jobs or num_cores()
        ray.init(address=LOCAL, num_cpus=cores, include_dashboard=False, **quiet)
        return
    try:
        knock(address)
        ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"expected a Ray cluster at {address!r}, got {' '.join(str(error).split())}; start one "
            "with 'ray start --head' and give --engine-option address=HOST:PORT, or "
            "address=local for one of this machine"
        ) from error


def knock(address: str) -> None:
    """Tries a cluster's door, at which Ray itself would wait for minutes.

    Raises:
        OSError: if nothing answers there.
    """
    found = urlsplit(address if "://" in address else f"ray://{address}")
    if found.hostname and found.port:
        socket.create_connection((found.hostname, found.port), PATIENCE).close()


def check_nodes(ray: Any, nodes: Sequence[Any], setup: Setup) -> None:
    """Asks every node whether it may take part, before any run is handed out."""
    if not nodes:
        raise ValueError("expected a Ray cluster with cores, got no node that has any")
    place = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    ask = ray.remote(refusal)
    asked = [
        ask.options(num_cpus=0, scheduling_strategy=place(node["NodeID"], soft=False)).remote(
            setup.terms
        )
        for node in nodes
    ]
    try:
        refused = [text for text in ray.get(asked) if text]
    except ray.exceptions.RayError as error:
        # Where ccenv is missing or old, not even the question can be read.
        raise ValueError(
            f"expected ccenv ({setup.terms.version}) on every node, got {last_line(error)}; "
            "install the version of this machine there"
        ) from error
    if refused:
        raise ValueError("; ".join(refused))


def last_line(error: Exception) -> str:
    """What an error of another process says in the end."""
    return str(error).strip().splitlines()[-1]


def run_all(
    ray: Any, tasks: Sequence[Task], nodes: Sequence[Any], setup: Setup
) -> Generator[Outcome]:
    """Hands tasks out and yields outcomes as they come; cancels the others when it is closed."""
    check_room(tasks, nodes)
    remote = ray.remote(max_retries=RETRIES)(carry_out)
    waiting = list(reversed(tasks))
    running: dict[Any, Any] = {}
    at_once = setup.num_jobs or math.inf
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                task = waiting.pop()
                cores, gpus = needs([task])
                sent = remote.options(num_cpus=cores, num_gpus=gpus)
                running[sent.remote(order_of(task, setup.terms))] = task
            (done, *_), _ = ray.wait(list(running))
            yield accept(running.pop(done), delivered(ray, done))
    finally:
        for left in running:
            ray.cancel(left, force=True)


def delivered(ray: Any, done: Any) -> Delivery:
    """What a worker brought, or how it was lost."""
    try:
        found: Delivery = ray.get(done)
    except ray.exceptions.RayError as error:
        return Delivery(error=f"its worker was lost {1 + RETRIES} times: {error}")
    return found


def check_room(tasks: Sequence[Task], nodes: Sequence[Any]) -> None:
    """Refuses runs that would wait for ever."""
    for task in tasks:
        cores, gpus = needs([task])
        room = [n["Resources"] for n in nodes if n["Resources"]["CPU"] >= cores]
        if not any(resources.get("GPU", 0) >= gpus for resources in room):
            raise ValueError(
                f"expected a node with {cores} cores and {gpus} GPUs for {task.label!r}, got none; "
                "give fewer threads or another device, or add such a node"
            )
