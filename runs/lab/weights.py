"""Shipped weights: lab weights NAME -> a file in the package, with its errors.

Stochastic depth: Huang et al. 2016, "Deep networks with stochastic depth" (arXiv 1603.09382). What
is skipped is not rescaled here: a policy's masks are not either. Exits learn from all inputs. A
second cycle: Loshchilov and Hutter 2017, "SGDR" (arXiv 1608.03983).
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ccenv.base.checked_file import check_finite, write_checked
from ccenv.base.masks import random_mask
from ccenv.base.registry import resolve
from ccenv.base.seeding import stream
from ccenv.data import load_split
from ccenv.networks import NETWORKS
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.exit_state import exit_losses
from ccenv.networks.core.inference_copy import learning_norms
from ccenv.networks.core.protocol import GatedNetwork, dense_forward, forward, num_blocks_of
from ccenv.networks.learning.bundled_weights import (
    PACKAGED,
    SHIPPED,
    shipped_path,
)
from ccenv.networks.learning.training import Pretraining, fingerprint
from ccenv.runs.commands.frame import Parser, program
from ccenv.runs.store.provenance import versions
from ccenv.simulator.simulator import Simulator


@dataclass(frozen=True)
class Recipe:
    """How a network's weights are learned."""

    network: str
    """name in `NETWORKS`."""
    dataset: str
    """name in `DATASETS`; the training split is learned from."""
    network_kwargs: dict[str, Any] = field(default_factory=dict)
    """of its builder."""
    transforms: tuple[str, ...] = ()
    """of the training images, see `ccenv.data.transforms`."""
    num_epochs: int = 30
    """passes over as many images as the training split has without copies."""
    batch_size: int = 128
    """images of an update."""
    learning_rate: float = 0.1
    """the highest, of SGD with Nesterov momentum; reached by a warm-up, it falls along a cosine."""
    momentum: float = 0.9
    """of SGD."""
    weight_decay: float = 5e-4
    """of SGD, on weights and norms alike."""
    warm_up: float = 0.1
    """share of the updates."""
    label_smoothing: float = 0.0
    """share of the target that all classes have alike."""
    share_whole: float = 0.5
    """share of the batches in which everything is kept."""
    most_skipped: float = 0.7
    """highest probability of skipping, of the last gate; earlier gates' grow with depth."""
    restart_epochs: int = 0
    """passes of a second cycle, which starts with a new optimiser; 0 for none."""
    restart_rate: float = 0.02
    """the highest learning rate of the second cycle."""
    restart_whole: float = 0.75
    """share of its batches in which everything is kept."""
    bfloat16: bool = True
    """whether products are computed in bfloat16, by `torch.autocast`."""
    seed: int = 0
    """of the initial weights, the order of the images and the masks."""


RECIPES: dict[str, Recipe] = {
    "experts": Recipe(
        "experts",
        "cifar10",
        {},
        ("copies=7", "shift=2", "mirror", "halve"),
        num_epochs=24,
        learning_rate=0.05,
        share_whole=0.2,
        most_skipped=0.98,
        bfloat16=False,
    ),
    "resnet20": Recipe(
        "resnet",
        "cifar10",
        {"depth": 20},
        ("copies=7", "shift=4", "mirror"),
        restart_epochs=8,
    ),
}
"""Name of a file of `SHIPPED` -> how its weights were learned."""


@dataclass(frozen=True)
class Measured:
    """What a file says about its weights: shares of wrong answers on images of the data set."""

    validation_error: float
    """validation split, everything kept."""
    test_error: float
    """test split, everything kept."""
    half_error: float
    """test split, each block kept with probability 1/2."""


def recipe_text(recipe: Recipe) -> str:
    """What a recipe says, as JSON; fields at their default are left out, so that more may come."""
    plain = Recipe(recipe.network, recipe.dataset)
    fields = {name: value for name, value in vars(recipe).items() if value != vars(plain)[name]}
    fields |= {"network": recipe.network, "dataset": recipe.dataset}
    return json.dumps(fields, sort_keys=True)


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256 of what a recipe says, in hexadecimal."""
    return hashlib.sha256(recipe_text(recipe).encode()).hexdigest()


FROZEN: dict[str, dict[str, Any]] = {"quickstart": {}}
"""Name -> settings of an environment whose frozen weights come with the package."""


def untrained(recipe: Recipe) -> Any:
    """The network of a recipe with its initial weights."""
    # The test split's images are of the same shape, and have no moved copies.
    split = load_split(recipe.dataset, "test", recipe.transforms)
    network = build_network(
        resolve(recipe.network, NETWORKS, "network"),
        recipe.seed,
        input_shape=split.image_shape,
        num_classes=split.num_classes,
        **recipe.network_kwargs,
    )
    # The order of memory in which convolutions of many small maps are fastest on a CPU.
    return network.to(memory_format=torch.channels_last)


def drawn_masks(
    blocks: tuple[int, ...], rows: int, most: float, generator: torch.Generator
) -> list[Tensor]:
    """Random masks: each row has a severity in [0, 1], and deeper gates are skipped more often."""
    severity = torch.rand(rows, 1, generator=generator)
    return [
        torch.rand(rows, n, generator=generator) >= most * severity * (gate + 1) / len(blocks)
        for gate, n in enumerate(blocks)
    ]


def train(network: Any, recipe: Recipe) -> None:
    """Trains a network with initial weights in place, with a bar; its norms are then frozen."""
    # Copies may be stored beside the images: an epoch has as many rows as there are images.
    num_images, r = len(load_split(recipe.dataset, "train")), recipe
    cycles = [
        ("recipe", r.num_epochs * num_images // r.batch_size, r.learning_rate, r.share_whole),
        (
            "recipe, second cycle",
            r.restart_epochs * num_images // r.batch_size,
            r.restart_rate,
            r.restart_whole,
        ),
    ]
    total = sum(num_updates for _, num_updates, *_ in cycles)
    with (
        learning_norms(network),
        tqdm(total=total, unit="update", smoothing=0.01, disable=None) as bar,
    ):
        network.train()
        for name, num_updates, rate, share_whole in cycles:
            for loss in updates(network, recipe, name, num_updates, rate, share_whole):
                bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
                bar.update()
    network.eval()


def updates(
    network: Any, recipe: Recipe, name: str, num_updates: int, rate: float, share_whole: float
) -> Iterator[float]:
    """Carries out a cycle, whose rate rises once and falls to nothing; gives losses in nats."""
    if not num_updates:
        return
    split = load_split(recipe.dataset, "train", recipe.transforms)
    generator = stream(recipe.seed, name)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=num_updates, pct_start=recipe.warm_up, cycle_momentum=False
    )
    blocks, order = num_blocks_of(network), torch.empty(0, dtype=torch.int64)
    for _ in range(num_updates):
        if len(order) < recipe.batch_size:
            order = torch.randperm(len(split), generator=generator)
        chosen, order = order[: recipe.batch_size], order[recipe.batch_size :]
        images, labels = split.batch(chosen)
        is_whole = float(torch.rand((), generator=generator)) < share_whole
        masks = drawn_masks(blocks, len(labels), recipe.most_skipped, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            kept = None if is_whole else masks
            loss = exit_losses(network, images, labels, kept, recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        yield float(loss.detach())


@torch.no_grad()
def error_of(
    network: Any,
    recipe: Recipe,
    split: str = "test",
    batch_size: int = 500,
    density: float | None = None,
    num_images: int | None = None,
) -> float:
    """Share of wrong answers of a network in evaluation mode.

    Args:
        network: a `GatedNetwork`.
        recipe: whose data set and transforms; those of chance are for training images alone.
        split: whose images.
        batch_size: images at a time.
        density: probability with which each block is kept, with masks of a fixed seed; None keeps
            everything.
        num_images: the first so many images; None for all.
    """
    data, wrong = load_split(recipe.dataset, split, recipe.transforms), 0
    generator, blocks = stream(0, f"masks of {split}"), num_blocks_of(network)
    count = len(data) if num_images is None else min(num_images, len(data))
    for indices in torch.arange(count).split(batch_size):
        images, labels = data.batch(indices)
        if density is None:
            logits = dense_forward(network, images)
        else:
            masks = [random_mask(len(labels), n, density, generator) for n in blocks]
            logits = forward(network, images, masks)
        wrong += int((logits.argmax(dim=1) != labels).sum())
    return wrong / count


def measured(network: Any, recipe: Recipe) -> Measured:
    """The errors that a file tells: with everything kept, and with a random half."""
    return Measured(
        validation_error=error_of(network, recipe, "validation"),
        test_error=error_of(network, recipe, "test"),
        half_error=error_of(network, recipe, "test", density=0.5),
    )


def write_shipped(
    network: GatedNetwork,
    name: str,
    measured: Measured,
    versions: Mapping[str, str],
    path: Path | None = None,
) -> Path:
    """Writes a file that `load_shipped` reads, if its weights are finite; returns where."""
    path = shipped_path(name) if path is None else path
    tensors = network.state_dict()
    check_finite(tensors, name)
    recipe = RECIPES[name]
    texts = {
        "name": name,
        "recipe": recipe_text(recipe),
        "fingerprint": recipe_digest(recipe),
        "measured": json.dumps(dataclasses.asdict(measured), sort_keys=True),
        "versions": json.dumps(dict(versions), sort_keys=True),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_checked(path, tensors, texts)
    return path


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
    parser = Parser(prog="lab weights", description=main.__doc__)
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
    recipe = RECIPES[options.name]
    network = untrained(recipe)
    train(network, recipe)
    errors = measured(network, recipe)
    write_shipped(network, options.name, errors, versions(), path)
    print(
        f"{path}: error {100 * errors.validation_error:.2f} % (validation), "
        f"{100 * errors.test_error:.2f} % (test), "
        f"{100 * errors.half_error:.2f} % (test, half kept)"
    )
    return 0
