"""An entry for the leaderboard as a file without code: policies for three prices <-> safetensors.

A policy is one of four forms; the last three are those of `ccenv.mask_table.evaluation.exact`:

- linear: [look_size + 1, num_units]; a unit is kept with probability sigmoid(look @ rows + last
  row), where the look is what is cheap to see before the first gate;
- keep: [num_units], the same for all inputs, or [n, num_units];
- masks: [num_masks] or [n, num_masks], probabilities of all masks;
- numbers: int64 [1] or [n], a mask's number.

Where a form has a row for each input, `images` (int64 [n], rising) says which inputs these are. A
name is shown beside the names of baselines, to readers in a terminal and on pages.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccenv.base.checked_arrays import DamagedFileError, read_arrays, write_arrays
from ccenv.mask_table.evaluation.exact import Outcomes

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
    if skeleton(name) in {skeleton(reserved) for reserved in RESERVED}:
        raise ValueError(f"expected another name than a baseline's, got {name!r}; choose your own")


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
"""See `ccenv.mask_table.evaluation.exact`."""


def write_policy(path: Path, **policy: NDArray[np.generic]) -> None:
    """Writes one of the forms of `ccenv.mask_table.value`.

    Raises:
        ValueError: if there is not exactly one.
        OSError: if it cannot be written.
    """
    check_form(list(policy))
    write_arrays(path, policy, {})


def read_policy(path: Path) -> dict[str, NDArray[np.generic]]:
    """Reads a policy; what it says is checked where it is judged.

    Raises:
        FileNotFoundError: if there is no such file.
        ccenv.base.checked_arrays.DamagedFileError: if it is no safetensors file, or damaged.
        ValueError: if there is not exactly one form in it.
    """
    arrays, _, _ = read_arrays(path)
    check_form(list(arrays))
    return arrays


def check_form(names: list[str]) -> None:
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
PRICES = (0.1, 0.3, 1.0)
"""Of the dense network's MACs, in right answers."""
ENTRY_FORMS = ("linear", *FORMS)
TEXTS = {"kind", "version", "name", "weights"}
MOST_BYTES = 100_000_000
"""Of a file; three tables of all masks' probabilities of 10,000 inputs have room."""
Policy = tuple[str, NDArray[Any]]
"""Form and array."""


@dataclass(frozen=True)
class Entry:
    """What somebody hands in."""

    name: str
    """that the standings show."""
    weights: str
    """`Header.weights` of the network that it is for."""
    policies: Mapping[float, Policy]
    """one for each of `PRICES`."""
    images: NDArray[np.int64] | None = None
    """[n]; inputs that rows are for; None where all policies are for any input."""

    @property
    def is_function(self) -> bool:
        """Whether it answers for any input, so that it was not made for these."""
        return self.images is None


def write_entry(
    path: Path,
    name: str,
    weights: str,
    policies: Mapping[float, Mapping[str, Any]],
    images: Any = None,
) -> None:
    """Writes an entry; what it says is checked where it is judged.

    Args:
        path: the file.
        name: that the standings show, at most 60 letters.
        weights: `table.header.weights` of the table that it was made with.
        policies: for each of `PRICES` one form and its array, such as `{"keep": array}`.
        images: int64 [n], which inputs of the test images rows are for.

    Raises:
        ValueError: if there is not one form for each price.
        OSError: if it cannot be written.
    """
    arrays = {}
    for price, policy in policies.items():
        if len(policy) != 1:
            raise ValueError(f"expected one form at price {price}, got {', '.join(policy)}")
        ((form, array),) = policy.items()
        arrays[key_of(form, price)] = np.asarray(array)
    check_keys(arrays)
    if images is not None:
        arrays["images"] = np.asarray(images, dtype=np.int64)
    texts = {"kind": KIND, "version": VERSION, "name": name, "weights": weights}
    write_arrays(path, arrays, texts)


def key_of(form: str, price: float) -> str:
    """Name of a policy in a file.

    >>> key_of("keep", 0.1)
    'keep@0.1'
    """
    return f"{form}@{price:g}"


def check_keys(names: Mapping[str, Any]) -> dict[float, str]:
    """Finds the form of each price: {price: form}."""
    left, forms = set(names), {}
    for price in PRICES:
        found = [form for form in ENTRY_FORMS if key_of(form, price) in left]
        if len(found) != 1:
            raise ValueError(
                f"expected one of {', '.join(key_of(form, price) for form in ENTRY_FORMS)}, got "
                f"{', '.join(key_of(form, price) for form in found) or 'none'}"
            )
        forms[price] = found[0]
        left.remove(key_of(found[0], price))
    if left:
        raise ValueError(f"expected no other arrays, got {', '.join(sorted(left))}")
    return forms


def read_entry(path: Path) -> Entry:
    """Reads an entry; runs no code of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ccenv.base.checked_arrays.DamagedFileError: if it is damaged, or another kind of file.
        ValueError: if it is of another version, does not hold one policy for each price, or has a
            name that the board does not take.
    """
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES:,} bytes, got {size:,}")
    arrays, texts, has_checksum = read_arrays(path)
    if texts.get("kind") != KIND or set(texts) != TEXTS:
        raise DamagedFileError(f"expected an entry in {path}, got another kind of file")
    if texts["version"] != VERSION:
        raise ValueError(f"expected an entry of version {VERSION}, got {texts['version']!r}")
    if not has_checksum:
        raise DamagedFileError(f"expected a checksum in {path}, got none: it was edited")
    name = texts["name"]
    check_name(name)
    images = arrays.pop("images", None)
    policies = {p: (form, arrays[key_of(form, p)]) for p, form in check_keys(arrays).items()}
    return Entry(name, texts["weights"], policies, images)


def check_images(images: NDArray[Any], num_images: int) -> None:
    """Refuses all but every input once, in order."""
    if images.dtype != np.int64 or images.ndim != 1:
        raise ValueError(f"expected images int64 [n], got {images.dtype} {list(images.shape)}")
    if (np.diff(images) <= 0).any():
        raise ValueError("expected numbers of images that rise, got one twice or out of order")
    if len(images) != num_images or images[0] != 0 or images[-1] != num_images - 1:
        raise ValueError(
            f"expected rows for all images 0..{num_images - 1}, got {len(images):,} of "
            f"{images.min() if len(images) else 'none'}..{images.max() if len(images) else ''}"
        )


def as_policy(
    policy: Policy, entry: Entry, outcomes: Outcomes, looks: NDArray[np.float32]
) -> dict[str, Any]:
    """A policy as `value` takes it, which checks the rest; a row for each input, or one for all.

    Args:
        policy: form and array.
        entry: that it is of.
        outcomes: of the inputs that judge.
        looks: [n, look_size], what is seen of them.

    Raises:
        ValueError: if it does not fit the table, or gives no distribution over its masks.
    """
    form, array = policy
    if array.dtype.kind not in ("iu" if form == "numbers" else "f"):
        raise ValueError(
            f"expected {form} of {'int' if form == 'numbers' else 'float'} numbers, "
            f"got {array.dtype}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers in {form}, got NaN or infinity")
    units = outcomes.num_units
    if form == "linear":
        if units is None or array.shape != (looks.shape[1] + 1, units):
            raise ValueError(
                f"expected linear [{looks.shape[1] + 1}, {units}], got {list(array.shape)}"
            )
        scores = looks @ array[:-1].astype(np.float64) + array[-1]
        return {"keep": 1 / (1 + np.exp(-np.clip(scores, -700, 700)))}
    rows = len(array) if array.ndim > (0 if form == "numbers" else 1) else 1
    if rows > 1 and entry.images is None:
        raise ValueError(f"expected images beside {form} with {rows:,} rows, got none")
    return {form: array}
