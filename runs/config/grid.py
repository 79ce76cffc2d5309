"""What `ccenv train --grid` runs: pairs of key and values -> settings of each combination.

`num_kept=1,2` and `seed=0..4` are values; any other value is one.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ccenv.runs.config.sweep import check_run_count
from ccenv.runs.config.values import parse_pairs

SEED_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})")
"""Whole numbers from one to another."""
BETWEEN = re.compile(r",(?![^(\[{]*[)\]}])")
"""A comma that stands in no brackets."""


def read_grid(pairs: Iterable[str], most_runs: int | None) -> Iterator[dict[str, Any]]:
    """The settings of each combination; the last setting changes first.

    Args:
        pairs: `key=value`, `key=value,value` or, of whole numbers, `key=first..last`. A value that
            has commas itself stands in brackets: `num_blocks=(10,10),(16,16)`.
        most_runs: combinations that there may be; None for any number.

    >>> list(read_grid(["num_kept=1,2", "seed=0..1"], most_runs=None))[1:3]
    [{'num_kept': 1, 'seed': 1}, {'num_kept': 2, 'seed': 0}]
    """
    pairs = list(pairs)
    # What is wrong with a pair alone is wrong in a grid, too.
    parse_pairs(pairs)
    axes = [(pair.partition("=")[0], values_of(pair)) for pair in pairs]
    check_run_count(math.prod(len(values) for _, values in axes), most_runs)
    texts = [[f"{key}={value}" for value in values] for key, values in axes]
    return map(parse_pairs, itertools.product(*texts))


def values_of(pair: str) -> Sequence[Any]:
    """The values of a setting, as texts or whole numbers.

    >>> values_of("num_blocks=(10,10),(16,16)"), values_of("seed=0..2")
    (['(10,10)', '(16,16)'], range(0, 3))
    """
    key, _, text = pair.partition("=")
    if match := SEED_RANGE.fullmatch(text):
        values: Sequence[Any] = range(int(match[1]), int(match[2]) + 1)
    else:
        values = BETWEEN.split(text)
    if not values or "" in values:
        raise ValueError(
            f"expected values of {key} between commas or as first..last, got {text!r}; for "
            f"example {key}=1,2 or {key}=0..4"
        )
    return values
