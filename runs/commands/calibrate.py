"""This machine's speed for `auto`: ccenv benchmark calibrate -> factors, measured if new."""

import argparse
import time
from collections.abc import Sequence

import torch

from ccenv.runs.commands.frame import program
from ccenv.sparse.cost_model import Factors
from ccenv.sparse.machine_prices import (
    OFF,
    SWITCH,
    forget_prices,
    identity,
    machine_prices,
    price_file,
)

ABOUT = "measures once how fast this machine computes layers, for auto to choose by"
MEANING = {
    "call": "a call of the kernels",
    "lists": "lists of kept blocks, writing results, reading weights",
    "few": "kept pairs of blocks, few rows",
    "many": "kept pairs of blocks, many rows",
    "turned": "weights that lie as torch.nn.Linear holds them",
    "dense_call": "a call of a dense product",
    "dense_few": "a dense product, few rows",
    "dense_many": "a dense product, many rows",
}
"""Name of a factor -> what takes so many times as long as by the shipped prices."""


def shown(factors: tuple[Factors, Factors]) -> str:
    """A line for each factor, forward and in training."""
    forward, training = map(vars, factors)
    lines = [
        f"{told:56} {forward[name]:8.2f} {training[name]:9.2f}" for name, told in MEANING.items()
    ]
    return "\n".join([f"{'times the shipped prices':56} {'forward':>8} {'training':>9}", *lines])


@program("ccenv benchmark calibrate", measures=True)
def main(arguments: Sequence[str] | None = None) -> int:
    """Measures kernels beside dense products, once for each machine, and shows what is kept."""
    parser = argparse.ArgumentParser(
        prog="ccenv benchmark calibrate", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("--again", action="store_true", help="measure even if it was measured")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    path = price_file(options.threads)
    if options.again:
        path.unlink(missing_ok=True)
        forget_prices()
    began = time.perf_counter()
    known = machine_prices(options.threads)
    if known is None:
        raise ValueError(
            f"expected to be allowed to measure and to keep what is found, got {SWITCH} in "
            f"{', '.join(OFF)} or a folder that cannot be written in; unset it, or give CCENV_CACHE"
        )
    print(", ".join(f"{name} {found}" for name, found in identity(options.threads).items()))
    print(shown(known.factors))
    print(f"{path}, {time.perf_counter() - began:.1f} seconds")
    return 0
