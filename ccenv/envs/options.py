"""What callers may ask of an environment: autoreset modes, images of the next episode; numpy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from ccenv.base.registry import check_names

AUTORESET_MODES = {mode.name: mode for mode in AutoresetMode}


def read_autoreset_mode(mode: Any) -> AutoresetMode:
    """Gymnasium's enum from itself, its name or its value.

    Raises:
        ValueError: if there is no such mode.
    """
    if isinstance(mode, AutoresetMode):
        return mode
    known = AUTORESET_MODES | {found.value: found for found in AutoresetMode}
    check_names([mode], known, "autoreset_mode")
    return known[mode]


def without_reset_mask(options: Mapping[str, Any] | None, num_envs: int) -> dict[str, Any] | None:
    """Takes Gymnasium's `reset_mask` out of the options: it may only name all rows.

    Raises:
        ValueError: if the mask names some rows only.
    """
    rest = dict(options or {})
    mask = np.asarray(rest.pop("reset_mask", np.ones(num_envs, dtype=bool)))
    if mask.dtype != np.bool_ or mask.shape != (num_envs,) or not mask.all():
        raise ValueError(
            f"expected options['reset_mask'] to be True for all {num_envs} rows, which go through "
            f"the layers together, got {mask!r}; leave it out"
        )
    return rest or None


def image_indices(options: Mapping[str, Any] | None) -> np.ndarray | None:
    """Reads `options={"indices": ...}`, which chooses the images of the next episode.

    Raises:
        ValueError: if there is another option, or the indices are not integers.
    """
    if not options:
        return None
    check_names(options, ["indices"], "reset option")
    indices = np.asarray(options["indices"])
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(
            f"expected options['indices'] to be whole numbers [num_images], got {indices!r}"
        )
    return indices.astype(np.int64)
