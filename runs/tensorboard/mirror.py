"""Sends a run's curves to Weights & Biases, too: ccenv train --track wandb.

Nothing is logged twice: W&B reads what TensorBoard would. No other part of the package knows of it.
"""

import contextlib
import os
from collections.abc import Iterator

from ccenv.runs.config.plan import Plan
from ccenv.runs.tensorboard.names import run_name

PROJECT = "ccenv"
"""Where runs are listed unless W&B's own variable WANDB_PROJECT says otherwise."""
SERVICES = ("wandb",)


class NoServiceError(ValueError):
    """A service whose library is not installed; nothing was written."""


@contextlib.contextmanager
def mirrored(service: str | None, plan: Plan) -> Iterator[None]:
    """Sends what is written in this block to a service as well.

    Args:
        service: "wandb", or None for none.
        plan: of the run; its settings are the columns of the service's table.

    Raises:
        NoServiceError: if its library is not installed.
    """
    if service is None:
        yield
        return
    try:
        import wandb
    except ImportError as error:
        raise NoServiceError(
            'expected wandb for --track, got none; pip install wandb, or "ccenv[track]"'
        ) from error
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    # The event file is opened inside, after W&B began to listen for it.
    with wandb.init(
        project=project, name=run_name(plan), config=plan.config(), sync_tensorboard=True
    ):
        yield
    # Else W&B minds that the next seed's event file is in another folder.
    wandb.tensorboard.unpatch()
