"""Weights in files: those that come with the package, and those that were learned once and cached.

A file of shipped weights says which recipe made it, with which errors and versions of the
libraries; it is read as tensors and text, which run no code. The program
`python -m ccenv.runs.lab weights NAME` writes one again.
"""

import contextlib
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ccenv.base.checked_file import check_finite, read_checked, write_checked
from ccenv.base.files import DamagedFileError
from ccenv.base.machine import user_cache
from ccenv.base.registry import check_names, resolve
from ccenv.data.transforms import is_of_chance, make_transform
from ccenv.networks import NETWORKS
from ccenv.networks.core.abilities import OpenLengths, ability
from ccenv.networks.core.protocol import GatedNetwork

PACKAGED = Path(__file__).parents[1] / "weights"
"""Weights that come with the package: `NAME-<what they depend on>.safetensors` are frozen ones."""


def learned_once(network: GatedNetwork, name: str, learn: Callable[[], None]) -> None:
    """Reads a network's weights from the package or the cache; learns and stores them otherwise.

    The name must differ for all that the weights depend on. A file that is damaged or of another
    network is replaced, with a warning on the standard error stream; a cache that cannot be written
    to gives a warning too. What was learned and is not finite is refused (ValueError).
    """
    path = user_cache() / "weights" / f"{name}.safetensors"
    for there in (*PACKAGED.glob(f"*-{name}.safetensors"), path):
        with contextlib.suppress(OSError, ValueError):
            network.load_state_dict(fitting_weights(network, there)[0])
            return
    with locked(path):
        try:
            # Another process may have learned them meanwhile.
            network.load_state_dict(fitting_weights(network, path)[0])
            return
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError) as error:
            tell(f"cached weights cannot be used and are learned again: {error}")
        learn()
        check_finite(network.state_dict(), "the network that was pre-trained")
        store_in_cache(lambda: write_checked(path, network.state_dict(), {}), "weights")


def fitting_weights(network: GatedNetwork, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads weights of a network and the texts stored with them; see `OpenLengths`.

    OSError if there is no such file, or it cannot be read; ValueError if it is damaged or without a
    checksum, of another network, or not finite.
    """
    tensors, texts, is_checked = read_checked(path)
    if not is_checked:
        raise DamagedFileError(f"expected a checksum in {path}, got none; learn it again")
    wanted, opened = network.state_dict(), ability(network, OpenLengths)
    for name in sorted({*tensors, *wanted}):
        any_length = opened is not None and name in opened.open_lengths
        expected, got = (kind_of(found, name, any_length) for found in (wanted, tensors))
        if expected != got:
            raise ValueError(
                f"expected weights of this network in {path}, got those of another: {name!r} is "
                f"{got} there and {expected} here"
            )
    check_finite(tensors, str(path))
    return tensors, texts


def kind_of(tensors: Mapping[str, Tensor], name: str, any_length: bool) -> str:
    """Type and shape of a tensor, for messages; of one that may have any length only its type."""
    if name not in tensors:
        return "no tensor"
    shape = ["any length"] if any_length else list(tensors[name].shape)
    return f"{tensors[name].dtype} {shape}"


def store_in_cache(write: Callable[[], None], what: str) -> None:
    """Writes to the cache, or says that what was made is only in memory."""
    try:
        write()
    except OSError as error:
        tell(
            f"{what} cannot be stored and will be made again next time: {error}; "
            "give a folder that can be written in as CCENV_CACHE"
        )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a cached file against other processes, where the cache can be written in."""
    # Imported on use: it is not needed once the weights are there.
    from filelock import FileLock

    with contextlib.ExitStack() as stack:
        # Where a lock has no place a file has none either: `store_in_cache` says so.
        with contextlib.suppress(OSError, NotImplementedError):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(path.with_suffix(".lock")))
            # Of a process that was killed while it wrote.
            for half in path.parent.glob(f"{path.name}.*.partial"):
                half.unlink(missing_ok=True)
        yield


def tell(text: str) -> None:
    """Writes a message to the standard error stream without breaking progress bars."""
    tqdm.write(f"ccenv: {text}", file=sys.stderr)


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


SHIPPED: dict[str, Recipe] = {
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
"""Name of a file -> how its weights were learned."""


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


def shipped_name(
    network: str,
    network_kwargs: Mapping[str, Any],
    dataset: str,
    transforms: Sequence[str] = (),
) -> str:
    """Which file has the weights of a network for a data set; ValueError that lists what there is.

    Of the environment's transforms those without chance must be the recipe's.
    """
    wanted = purpose_of(network, network_kwargs, dataset, transforms)
    names = {
        purpose_of(r.network, r.network_kwargs, r.dataset, r.transforms): name
        for name, r in SHIPPED.items()
    }
    if wanted not in names:
        raise ValueError(
            f"expected a network whose weights are shipped ({'; '.join(names)}), got {wanted}; "
            "use weights='frozen' to train"
        )
    return names[wanted]


def purpose_of(
    network: str, network_kwargs: Mapping[str, Any], dataset: str, transforms: Sequence[str]
) -> str:
    """What weights are for, as settings of the environment; sizes at their default are left out."""
    fixed = [name for name in transforms if not is_of_chance(make_transform(name))]
    own = dict(network_kwargs)
    if network in NETWORKS:
        parameters = inspect.signature(resolve(network, NETWORKS, "network")).parameters
        own = {n: v for n, v in own.items() if n not in parameters or v != parameters[n].default}
    return f"network={network!r}, network_kwargs={own}, dataset={dataset!r}, transforms={fixed}"


def shipped_path(name: str) -> Path:
    """Where a file lies; an unknown name is refused, and the nearest named."""
    check_names([name], SHIPPED, "shipped weights")
    return PACKAGED / f"{name}.safetensors"


def load_shipped(network: GatedNetwork, name: str) -> Measured:
    """Gives a network the weights that are shipped for it, if everything is right.

    Returns:
        The errors that were measured when the file was written.

    Raises:
        FileNotFoundError: if the file is not there.
        ValueError: if it is damaged, or was made by another recipe or for another network.
    """
    path = shipped_path(name)
    if not path.exists():
        raise FileNotFoundError(
            f"expected shipped weights in {path}, got no file; train them: "
            f"python -m ccenv.runs.lab weights {name}"
        )
    tensors, texts = fitting_weights(network, path)
    expected, got = recipe_digest(SHIPPED[name]), texts.get("fingerprint", "none")
    if texts.get("name") != name or got != expected or "measured" not in texts:
        raise ValueError(
            f"expected weights {name!r} by the recipe {expected[:12]}... in {path}, got "
            f"{texts.get('name')!r} by {got[:12]}...; train them again: "
            f"python -m ccenv.runs.lab weights {name}"
        )
    network.load_state_dict(tensors)
    return Measured(**json.loads(texts["measured"]))
