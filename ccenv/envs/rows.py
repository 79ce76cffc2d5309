"""What environments share in numpy: rows of actions and infos, options of resets."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from ccenv.base.registry import check_names
from ccenv.base.values import as_settings, shown


def with_presence(info: dict[str, Any], present: np.ndarray) -> dict[str, Any]:
    """Adds Gymnasium's boolean twin `_key` to each key of a vector info."""
    rows = np.empty((len(info), present.shape[0]), dtype=bool)
    rows[:] = present
    return info | {f"_{key}": row for key, row in zip(info, rows, strict=True)}


def row_of(info: dict[str, np.ndarray], row: int) -> dict[str, Any]:
    """One row as Python scalars and arrays: the scalar environment's and SB3's `info`."""
    return {
        key: value[row].copy() if value.ndim > 1 else value[row].item()
        for key, value in info.items()
    }


def action_array(action: Any, shape: tuple[int, ...], what: str, advice: str) -> NDArray[Any]:
    """Numbers of a user's action, one for each block; else TypeError or ValueError."""
    array = np.asarray(action)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"expected the action to be an array of {what}s, got dtype {array.dtype}; {advice}"
        )
    if array.shape != shape:
        raise ValueError(
            f"expected an action of shape {list(shape)}, one {what} a block, "
            f"got {list(array.shape)}"
        )
    return array


def checked_bits(action: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Reads a mask of a user, bool or 0 and 1 of any type, as SB3 samples it, or raises."""
    advice = "give bool, int or float with the values 0 and 1"
    array = action_array(action, shape, "bit", advice)
    is_mask = array.dtype == np.bool_
    if not is_mask and array.dtype.itemsize == 1:
        # What spaces sample: one look at the bytes, in which negative numbers are large.
        is_mask = array.view(np.uint8).max(initial=0) <= 1
    if not (is_mask or ((array == 0) | (array == 1)).all()):
        odd = array[(array != 0) & (array != 1)].flat[0]
        raise ValueError(
            f"expected every bit of the action to be 0 or 1, got {odd}; "
            "threshold or sample probabilities first"
        )
    # A copy: what a caller does with its array afterwards changes nothing.
    return array.astype(np.bool_, order="C")


def check_open(is_closed: bool) -> None:
    """Refuses steps and resets of an environment after its `close` (RuntimeError)."""
    if is_closed:
        raise RuntimeError("expected an open environment, got a closed one; make a new one")


AUTORESET_MODES = {mode.name: mode for mode in AutoresetMode}


def read_autoreset_mode(mode: Any) -> AutoresetMode:
    """Gymnasium's enum from itself, its name or its value; ValueError if there is no such mode."""
    if isinstance(mode, AutoresetMode):
        return mode
    known = AUTORESET_MODES | {found.value: found for found in AutoresetMode}
    check_names([mode], known, "autoreset_mode")
    return known[mode]


def without_reset_mask(options: Mapping[str, Any] | None, num_envs: int) -> dict[str, Any] | None:
    """Takes Gymnasium's `reset_mask` out of options; ValueError if it names some rows only."""
    rest = as_settings(options, "options")
    mask = np.asarray(rest.pop("reset_mask", np.ones(num_envs, dtype=bool)))
    if mask.dtype != np.bool_ or mask.shape != (num_envs,) or not mask.all():
        raise ValueError(
            f"expected options['reset_mask'] to be True for all {num_envs} rows, which go through "
            f"the layers together, got {shown(mask)}; leave it out"
        )
    return rest or None


def image_indices(options: Mapping[str, Any] | None) -> np.ndarray | None:
    """Reads `options={"indices": ...}`, the images of the next episode (else ValueError)."""
    if not as_settings(options, "options"):
        return None
    assert options is not None
    check_names(options, ["indices"], "reset option")
    indices = np.asarray(options["indices"])
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(
            f"expected options['indices'] to be whole numbers [num_images], got {shown(indices)}"
        )
    return indices.astype(np.int64)
