"""What environments share in numpy: rows of actions and infos, options of resets."""

import functools
from collections.abc import Callable, Mapping
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


def when_filled(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of `dict` that fills a `RowInfo` before it reads or removes keys."""

    @functools.wraps(method)
    def of_all_keys(row: "RowInfo", *arguments: Any) -> Any:
        row.fill()
        return method(row, *arguments)

    return of_all_keys


class RowInfo(dict[str, Any]):
    """A row's `info`: a dict whose keys are taken out of the columns of all rows on first use.

    Algorithms of SB3 read three keys of each row, which are set at once. To fill thousands of dicts
    with the others takes longer than the network. Wrappers, checkers, `json` and users expect a
    dict, which C code reads without its methods: so the class is one, and all methods that depend
    on keys still in the columns fill it first.

    >>> row = RowInfo(episode=1)
    >>> row.columns, row.number = {"label": np.array([4, 7])}, 1
    >>> row.get("is_success"), row["label"], row == {"episode": 1, "label": 7}
    (None, 7, True)
    """

    __slots__ = ("columns", "number")
    columns: dict[str, np.ndarray]
    """of all rows; empty once the row is filled."""
    number: int

    def fill(self) -> None:
        """Adds what the columns say, where nothing else was set."""
        columns, self.columns = self.columns, {}
        for key, value in row_of(columns, self.number).items():
            dict.setdefault(self, key, value)

    def get(self, key: str, default: Any = None) -> Any:
        """See `dict.get`."""
        if key in self.columns:
            self.fill()
        return dict.get(self, key, default)

    def __missing__(self, key: str) -> Any:
        if key not in self.columns:
            raise KeyError(key)
        self.fill()
        return self[key]

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are plain dicts."""
        return dict, (dict(self),)

    __contains__ = when_filled(dict.__contains__)
    __delitem__ = when_filled(dict.__delitem__)
    __eq__ = when_filled(dict.__eq__)
    __iter__ = when_filled(dict.__iter__)
    __len__ = when_filled(dict.__len__)
    __ne__ = when_filled(dict.__ne__)
    __or__ = when_filled(dict.__or__)
    __repr__ = when_filled(dict.__repr__)
    __reversed__ = when_filled(dict.__reversed__)
    __ror__ = when_filled(dict.__ror__)
    clear = when_filled(dict.clear)
    copy = when_filled(dict.copy)
    items = when_filled(dict.items)
    keys = when_filled(dict.keys)
    pop = when_filled(dict.pop)
    popitem = when_filled(dict.popitem)
    setdefault = when_filled(dict.setdefault)
    values = when_filled(dict.values)


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
    # A copy: what a caller does with its array afterwards changes nothing.
    mask = array.astype(np.bool_, order="C")
    if np.count_nonzero(mask != array):
        odd = array[mask != array].flat[0]
        raise ValueError(
            f"expected every bit of the action to be 0 or 1, got {odd}; "
            "threshold or sample probabilities first"
        )
    return mask


def check_open(is_closed: bool) -> None:
    """Refuses steps and resets of an environment after its `close` (RuntimeError)."""
    if is_closed:
        raise RuntimeError("expected an open environment, got a closed one; make a new one")


AUTORESET_MODES = {mode.name: mode for mode in AutoresetMode}


def read_autoreset_mode(mode: Any) -> AutoresetMode:
    """Gymnasium's enum from itself, its name or its value; ValueError if there is no such mode."""
    if isinstance(mode, AutoresetMode):
        return mode
    modes = AUTORESET_MODES | {each.value: each for each in AutoresetMode}
    check_names([mode], modes, "autoreset_mode")
    return modes[mode]


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
    """Reads `options={"indices": ...}`, the inputs of the next episode (else ValueError)."""
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
