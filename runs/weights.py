"""Shipped weights: ccenv weights NAME -> a file in the package, with its errors."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ccenv.base.registry import resolve
from ccenv.data import load_split
from ccenv.networks.build import build_network
from ccenv.networks.recipe import Recipe, error_of, train
from ccenv.networks.shipped import SHIPPED, Measured, shipped_path, write_shipped
from ccenv.networks.table import NETWORKS
from ccenv.runs.programs import program
from ccenv.runs.store.machine import versions


def untrained(recipe: Recipe) -> Any:
    """The network of a recipe with its initial weights."""
    split = load_split(recipe.dataset, "train", recipe.transforms)
    network = build_network(
        resolve(recipe.network, NETWORKS, "network"),
        recipe.seed,
        input_shape=split.image_shape,
        num_classes=split.num_classes,
        **recipe.network_kwargs,
    )
    # The order of memory in which convolutions of many small maps are fastest on a CPU.
    return network.to(memory_format=torch.channels_last)


def trained(recipe: Recipe) -> Any:
    """The network of a recipe, trained, with a bar."""
    network = untrained(recipe)
    with tqdm(unit="update", smoothing=0.01) as bar:

        def show(done: int, of: int, loss: float) -> None:
            bar.total = of
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update(done - bar.n)

        train(network, recipe, show)
    return network


def measured(network: Any, dataset: str) -> Measured:
    """The errors that a file tells: with everything kept, and with a random half."""
    return Measured(
        validation_error=error_of(network, dataset, "validation"),
        test_error=error_of(network, dataset, "test"),
        half_error=error_of(network, dataset, "test", density=0.5),
    )


@program("ccenv weights")
def main(arguments: Sequence[str] | None = None) -> int:
    """Trains shipped weights by their recipe and writes the file; see --help."""
    parser = argparse.ArgumentParser(prog="ccenv weights", description=main.__doc__)
    parser.add_argument("name", help=f"one of {', '.join(SHIPPED)}")
    parser.add_argument("--output", type=Path, help="another file than the package's own")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    options = parser.parse_args(arguments)
    # An unknown name is refused before anything is trained.
    path = options.output or shipped_path(options.name)
    shipped_path(options.name)
    torch.set_num_threads(options.threads)
    recipe = SHIPPED[options.name]
    network = trained(recipe)
    found = measured(network, recipe.dataset)
    write_shipped(network, options.name, found, versions(), path)
    print(
        f"{path}: error {100 * found.validation_error:.2f} % (validation), "
        f"{100 * found.test_error:.2f} % (test), {100 * found.half_error:.2f} % (test, half kept)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
