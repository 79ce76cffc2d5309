"""An entry of the challenge as a file without code: policies for cost weights <-> safetensors.

A policy is one of two forms:

- linear: [look_size + 1, num_units]; a unit is kept with probability sigmoid(look @ rows + last
  row), where the look holds the features offered at the first gate;
- keep: [num_units], keep probabilities that are the same for all inputs.

A name is shown next to the names of baselines, in terminals and on pages.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccenv.base.files import DamagedFileError, read_parts, write_arrays

MOST_LETTERS = 60
RESERVED = (
    "best static mask",
    "static mask",
    "best static",
    "static",
    "oracle",
    "optimum",
    "dense",
    "dense network",
    "random",
    "random masks",
    "rival",
    "baseline",
)
"""Names that readers take for a baseline of the project's."""
LOOK_ALIKE = str.maketrans("013457@$", "oleastas")
"""Digits and signs that stand for letters."""


def check_name(name: str) -> None:
    """Refuses names that cannot be shown, or that pass for another's."""
    if not name.strip() or not name.isprintable() or len(name) > MOST_LETTERS:
        raise ValueError(f"expected a name of 1..{MOST_LETTERS} printed letters, got {name[:80]!r}")
    alphabets = {alphabet_of(c) for c in name if c.isalpha()}
    if len(alphabets) > 1:
        raise ValueError(
            f"expected a name in letters of one alphabet, got {name!r} of "
            f"{', '.join(sorted(alphabets))}: letters of two may look the same"
        )
    check_is_free(name)


def check_is_free(name: str, taken: Iterable[str] = ()) -> None:
    """Refuses the name of a baseline, of the oracle, or one that is taken."""
    if skeleton(name) in {skeleton(other) for other in (*RESERVED, *taken)}:
        raise ValueError(
            f"expected another name than a baseline's or a recorded policy's, got {name!r}; "
            "choose your own"
        )


def alphabet_of(letter: str) -> str:
    """First word of a letter's name in Unicode, after compatibility forms are undone.

    >>> alphabet_of("a"), alphabet_of("\u0430")
    ('LATIN', 'CYRILLIC')
    """
    plain = unicodedata.normalize("NFKD", letter)[0]
    return unicodedata.name(plain, "UNKNOWN").split()[0]


def skeleton(name: str) -> str:
    """Letters of a name without case, accents, spaces and signs.

    >>> skeleton("Or\u00e1cle!"), skeleton("0-R-A-C-L-E")
    ('oracle', 'oracle')
    """
    plain = unicodedata.normalize("NFKD", name).casefold().translate(LOOK_ALIKE)
    return "".join(c for c in plain if c.isalnum())


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


KIND, VERSION = "ccenv table entry", "1"
COST_WEIGHTS = (0.1, 0.3, 1.0)
"""Of the dense network's MACs, in right answers."""
TEXTS = {"kind", "version", "name", "weights"}
MOST_BYTES = 100_000_000
"""Of a file."""


FORMS_OF_ENTRIES = ("linear", "keep")


@dataclass(frozen=True)
class FilePolicy:
    """A policy of one of the forms of entries."""

    form: str
    """"linear" or "keep"."""
    array: NDArray[Any]
    """float [look_size + 1, num_units], the last row is added; or [num_units]."""

    def act(self, look: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keep probabilities: float32 [n, look_size] -> [n, num_units]."""
        shape, inputs = self.array.shape, look.shape[1] + 1
        if self.form == "keep":
            if len(shape) != 1:
                raise ValueError(
                    f"expected keep [num_units], the same for all inputs, got {list(shape)}"
                )
            return np.repeat(self.array[None].astype(np.float32), len(look), axis=0)
        if len(shape) != 2 or shape[0] != inputs:
            raise ValueError(f"expected linear [{inputs}, num_units], got {list(shape)}")
        scores = look @ self.array[:-1].astype(np.float64) + self.array[-1]
        kept: NDArray[np.float32] = 1 / (1 + np.exp(-np.clip(scores, -80, 80)))
        return kept.astype(np.float32)


@dataclass(frozen=True)
class EntryFile:
    """What a file holds."""

    name: str
    """that the standings show."""
    weights: str
    """`Header.weights` of the network that it is for."""
    policies: Mapping[float, FilePolicy]
    """one for each of `COST_WEIGHTS`."""


def write_entry(
    path: Path, name: str, weights: str, policies: Mapping[float, Mapping[str, Any]]
) -> None:
    """Writes an entry; shapes and probabilities are checked when it is judged.

    Args:
        path: the file.
        name: that the standings show, at most 60 letters.
        weights: `table.header.weights` of the table that it was made with.
        policies: for each of `COST_WEIGHTS` one form and its array, such as `{"keep": array}`.

    Raises:
        ValueError: if there is not one form for each cost weight.
        OSError: if it cannot be written.
    """
    arrays = {
        policy_key(form, weight): np.asarray(array)
        for weight, policy in policies.items()
        for form, array in policy.items()
    }
    forms_by_weight(arrays)
    texts = {"kind": KIND, "version": VERSION, "name": name, "weights": weights}
    write_arrays(path, arrays, texts)


def policy_key(form: str, cost_weight: float) -> str:
    """Name of a policy in a file.

    >>> policy_key("keep", 0.1)
    'keep@0.1'
    """
    return f"{form}@{cost_weight:g}"


def forms_by_weight(names: Mapping[str, Any]) -> dict[float, str]:
    """Finds the form of each cost weight: {cost weight: form}."""
    left, forms = set(names), {}
    for weight in COST_WEIGHTS:
        keys = {policy_key(form, weight): form for form in FORMS_OF_ENTRIES}
        there = left & set(keys)
        if len(there) != 1:
            raise ValueError(
                f"expected one of {', '.join(keys)}, got {', '.join(sorted(there)) or 'none'}"
            )
        forms[weight] = keys[there.pop()]
        left -= set(keys)
    if left:
        raise ValueError(f"expected no other arrays, got {', '.join(sorted(left))}")
    return forms


def read_entry(path: Path) -> EntryFile:
    """Reads an entry; runs no code of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ccenv.base.files.DamagedFileError: if it is damaged, or another kind of file.
        ValueError: if it is of another version, does not hold one policy for each cost weight,
            holds answers for single inputs, or has a name that standings do not take.
    """
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES:,} bytes, got {size:,}")
    arrays, texts, has_checksum = read_parts(path)
    if texts.get("kind") != KIND or set(texts) != TEXTS:
        raise DamagedFileError(f"expected an entry in {path}, got another kind of file")
    if texts["version"] != VERSION:
        raise ValueError(f"expected an entry of version {VERSION}, got {texts['version']!r}")
    if not has_checksum:
        raise DamagedFileError(f"expected a checksum in {path}, got none: it was edited")
    check_name(texts["name"])
    if "images" in arrays:
        raise ValueError(
            f"expected a policy for any input in {path}, got answers for single inputs: they "
            "cannot be distinguished from labels; give linear or keep"
        )
    policies = {}
    for weight, form in forms_by_weight(arrays).items():
        array = arrays[policy_key(form, weight)]
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(
                f"expected finite floats in {policy_key(form, weight)}, got {array.dtype} with "
                f"{np.size(array) - int(np.isfinite(array).sum())} that are not finite"
            )
        policies[weight] = FilePolicy(form, array)
    return EntryFile(texts["name"], texts["weights"], policies)
