"""A policy of a table as a file without code: masks, their numbers, or keep probabilities."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccenv.base.files import read_parts, write_arrays

FORMS = ("numbers", "masks", "keep")
"""See `ccenv.mask_table.exact`."""


def write_policy(path: Path, **policy: NDArray[np.generic]) -> None:
    """Writes one of the forms of `ccenv.mask_table.value`.

    Raises:
        ValueError: if there is not exactly one.
        OSError: if it cannot be written.
    """
    check_one_form(list(policy))
    write_arrays(path, policy, {})


def read_policy(path: Path) -> dict[str, NDArray[np.generic]]:
    """Reads a policy; what it says is checked where it is judged.

    Raises:
        FileNotFoundError: if there is no such file.
        ccenv.base.files.DamagedFileError: if it is no safetensors file, or damaged.
        ValueError: if there is not exactly one form in it.
    """
    arrays, _, _ = read_parts(path)
    check_one_form(list(arrays))
    return arrays


def check_one_form(names: list[str]) -> None:
    """Refuses all but one form."""
    if len(names) != 1 or names[0] not in FORMS:
        raise ValueError(
            f"expected a policy as one of {', '.join(FORMS)}, got {', '.join(names) or 'nothing'}"
        )


def of_rows(
    policy: dict[str, NDArray[np.generic]], num_inputs: int, rows: slice
) -> dict[str, NDArray[np.generic]]:
    """The part of a policy that is about some of the inputs; one row stays one for all."""
    ((name, array),) = policy.items()
    is_for_each = (
        array.ndim > 0 and len(array) == num_inputs and (name == "numbers" or array.ndim > 1)
    )
    return {name: array[rows] if is_for_each else array}
