"""Ray and Slurm (by submitit) as engines: tasks -> outcomes of other machines as they come."""

import math
import os
import socket
import sys
import time
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
"""Starts a cluster of Ray's here, whatever the environment says."""
RETRIES = 2
"""Times that Ray starts a run again when its worker or node dies."""
PATIENCE = 10.0
"""Seconds in which a cluster's door must open."""
EVERY = 2.0
"""Seconds between two looks at Slurm's queue."""


@contextmanager
def open_ray(setup: Setup) -> Iterator[Engine]:
    """Connects to a cluster, or starts one of this machine's cores, and leaves it at the end."""
    ray = library("ray", "ray")
    check_names(setup.options, [ADDRESS], "option of ray")
    address = str(setup.options.get(ADDRESS) or os.environ.get("RAY_ADDRESS") or LOCAL)
    # Ray says on stdout what becomes of its nodes, where results are printed for other programs.
    with redirect_stdout(sys.stderr):
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
                lambda tasks: run_by_ray(ray, tasks, nodes, setup),
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
    found = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        # Where nothing answers Ray itself would wait for minutes.
        if found.hostname and found.port:
            socket.create_connection((found.hostname, found.port), PATIENCE).close()
        ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"expected a Ray cluster at {address!r}, got {' '.join(str(error).split())}; start one "
            "with 'ray start --head' and give --engine-option address=HOST:PORT, or "
            "address=local for one of this machine"
        ) from error


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
            f"expected ccenv ({setup.terms.version}) on every node, got "
            f"{str(error).strip().splitlines()[-1]}; install the version of this machine there"
        ) from error
    if refused:
        raise ValueError("; ".join(refused))


def run_by_ray(
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
            try:
                delivery = ray.get(done)
            except ray.exceptions.RayError as error:
                delivery = Delivery(error=f"its worker was lost {1 + RETRIES} times: {error}")
            yield accept(running.pop(done), delivery)
    finally:
        for left in running:
            ray.cancel(left, force=True)


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


@contextmanager
def open_slurm(setup: Setup) -> Iterator[Engine]:
    """Makes an executor; options are those of its `update_parameters` (slurm_partition, ...)."""
    submitit = library("submitit", "slurm")
    options = dict(setup.options)
    # submitit's own way to try everything without a cluster.
    cluster = options.pop("cluster", "slurm")
    try:
        executor = submitit.AutoExecutor(folder=setup.log_dir / "slurm", cluster=cluster)
        executor.update_parameters(slurm_array_parallelism=setup.num_jobs or 256, **options)
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        raise ValueError(
            f"expected Slurm's commands (srun, sbatch) on this machine, and options of submitit's "
            f"AutoExecutor, got {' '.join(str(error).split())}; call from a login node"
        ) from error
    about = f"Slurm, logs in {setup.log_dir / 'slurm'}"
    yield Engine(setup.num_jobs or 1, about, lambda tasks: run_by_slurm(executor, tasks, setup))


def run_by_slurm(executor: Any, tasks: Sequence[Task], setup: Setup) -> Generator[Outcome]:
    """Submits one array; a job that is lost is submitted once more; closing it cancels the rest."""
    cores, gpus = needs(tasks)
    executor.update_parameters(cpus_per_task=cores, **({"gpus_per_node": 1} if gpus else {}))
    orders = [order_of(task, setup.terms) for task in tasks]
    jobs = executor.map_array(carry_out, orders)
    running = [(job, order, 1) for job, order in zip(jobs, orders, strict=True)]
    try:
        while running:
            ended = [one for one in running if one[0].done()]
            for job, order, attempt in ended:
                running.remove((job, order, attempt))
                if job.exception() is None:
                    yield accept(order.task, job.result())
                elif attempt == 1:
                    running.append((executor.submit(carry_out, order), order, 2))
                else:
                    yield accept(order.task, Delivery(error=f"lost twice: {job.exception()}"))
            time.sleep(0 if ended else EVERY)
    finally:
        for job, _, _ in running:
            job.cancel()
