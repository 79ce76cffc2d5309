"""How an exported classifier chooses masks: (agent) -> drawn or most probable, whichever errs less.

A young policy keeps no block with a probability above one half, so that its most probable masks
keep nothing where drawn ones answer well; an old one may do better with the most probable masks.
"""

import zlib
from typing import Any

import torch
from torch import Tensor

from ccenv.base.registry import check_names
from ccenv.base.seeding import stream
from ccenv.simulator.evaluate import evaluate

DRAWS = ("mode", "sampled")
"""ways of choosing masks: the most probable ones, or drawn."""


def better_draw(agent: Any) -> dict[str, Any]:
    """Which way of choosing has fewer errors on the validation split, and the errors of both.

    Returns:
        `draw` (of equal ones "mode", whose masks are the same for everybody) and
        `validation_error`, a share for each way.
    """
    errors = {
        draw: evaluate(agent.simulator, agent, split="validation", sample=is_drawn(draw)).error
        for draw in DRAWS
    }
    return {"draw": min(DRAWS, key=lambda draw: errors[draw]), "validation_error": errors}


def is_drawn(draw: str) -> bool:
    """Whether masks are drawn.

    Raises:
        ValueError: if it is neither "mode" nor "sampled".
    """
    check_names([draw], DRAWS, "way of choosing masks")
    return draw == "sampled"


def stream_of(images: Tensor) -> torch.Generator:
    """A stream whose seed is made of a batch of images: the same batch always draws alike."""
    # One seed for all batches would draw alike for every image that is classified alone.
    return stream(zlib.crc32(images.detach().cpu().contiguous().numpy().data), "masks")


def drawing(
    images: Tensor, generator: torch.Generator | None, draw: str | None, recorded: str
) -> torch.Generator | None:
    """What draws the masks of a batch; None where the most probable ones are taken.

    Args:
        images: [batch, ...] float32.
        generator: the caller's, if there is one.
        draw: one of `DRAWS`; None: drawn beside a generator, else as recorded.
        recorded: one of `DRAWS`.

    Raises:
        ValueError: if `draw` is unknown, or there is a generator and nothing to draw.
    """
    if draw is None:
        draw = recorded if generator is None else "sampled"
    if is_drawn(draw):
        return generator or stream_of(images)
    if generator is not None:
        raise ValueError("expected draw='sampled' beside a generator, got 'mode'; leave one out")
    return None
