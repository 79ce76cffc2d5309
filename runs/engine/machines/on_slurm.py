"""Slurm as an engine, by submitit: tasks -> an array of jobs -> outcomes as they come."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ccenv.runs.engine.machines.engines import Engine, Setup, library
from ccenv.runs.engine.machines.pool import Outcome, Task
from ccenv.runs.engine.machines.remote import Delivery, accept, carry_out, needs, order_of

EVERY = 2.0
"""Seconds between two looks at the queue."""


@contextmanager
def opened(setup: Setup) -> Iterator[Engine]:
    """Makes an executor; options are those of its `update_parameters` (slurm_partition, ...).

    Raises:
        ValueError: if submitit or Slurm is missing, or an option is none of submitit's.
    """
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
    yield Engine(setup.num_jobs or 1, about, lambda tasks: run_all(executor, tasks, setup))


def run_all(executor: Any, tasks: Sequence[Task], setup: Setup) -> Generator[Outcome]:
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
