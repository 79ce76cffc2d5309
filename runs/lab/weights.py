"""Shipped weights: lab weights NAME -> a file in the package, with its errors."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ccenv.base.checked_file import write_checked
from ccenv.base.registry import resolve
from ccenv.data import load_split
from ccenv.networks.core.arguments import build_network
from ccenv.networks.learning.bundled_weights import (
    SHIPPED,
    Measured,
    shipped_path,
    write_shipped,
)
from ccenv.networks.learning.frozen_cache import PACKAGED
from ccenv.networks.learning.recipe import Recipe, error_of, train
from ccenv.networks.learning.training import Pretraining, fingerprint
from ccenv.networks.registry import NETWORKS
from ccenv.runs.commands.frame import program
from ccenv.runs.store.provenance import versions
from ccenv.simulator.simulator import Simulator

FROZEN: dict[str, dict[str, Any]] = {"quickstart": {}}
"""Name -> settings of an environment whose frozen weights come with the package."""


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


def measured(network: Any, recipe: Recipe) -> Measured:
    """The errors that a file tells: with everything kept, and with a random half."""
    return Measured(
        validation_error=error_of(network, recipe, "validation"),
        test_error=error_of(network, recipe, "test"),
        half_error=error_of(network, recipe, "test", density=0.5),
    )


def ship_frozen(name: str) -> Path:
    """Learns the frozen weights of an environment and puts them into the package.

    The file's name says all that they depend on: once the code that learns them or their data
    change, it is no longer read, and a test asks for this program.
    """
    simulator = Simulator(1, **FROZEN[name])
    train = load_split(simulator.dataset, "train", simulator.transforms)
    depends_on = fingerprint(simulator.source.build(0), train, Pretraining())
    for old in PACKAGED.glob(f"{name}-*.safetensors"):
        old.unlink()
    PACKAGED.mkdir(exist_ok=True)
    path = PACKAGED / f"{name}-{depends_on}.safetensors"
    write_checked(path, simulator.network.state_dict(), {})
    return path


@program("lab weights")
def main(arguments: Sequence[str] | None = None) -> int:
    """Trains shipped weights by their recipe and writes the file; see --help."""
    parser = argparse.ArgumentParser(
        prog="lab weights", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("name", help=f"one of {', '.join([*SHIPPED, *FROZEN])}")
    parser.add_argument("--output", type=Path, help="another file than the package's own")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.name in FROZEN:
        print(ship_frozen(options.name))
        return 0
    # An unknown name is refused before anything is trained.
    path = options.output or shipped_path(options.name)
    shipped_path(options.name)
    recipe = SHIPPED[options.name]
    network = trained(recipe)
    found = measured(network, recipe)
    write_shipped(network, options.name, found, versions(), path)
    print(
        f"{path}: error {100 * found.validation_error:.2f} % (validation), "
        f"{100 * found.test_error:.2f} % (test), {100 * found.half_error:.2f} % (test, half kept)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
