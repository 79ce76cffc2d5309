"""Weights in files: those that come with the package, and those that were learned once and cached.

A file of shipped weights says which recipe made it; it is read as tensors and text, which run no
code. The program `python -m ccenv.runs.lab weights NAME` writes one again.
"""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ccenv.base.checked_file import check_finite, read_checked, write_checked
from ccenv.base.machine import user_cache
from ccenv.base.registry import check_names, resolve
from ccenv.data.transforms import is_of_chance, make_transform
from ccenv.networks import NETWORKS
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
    """Reads weights of a network and the texts stored with them; see `GatedNetwork.open_lengths`.

    OSError if there is no such file, or it cannot be read; ValueError if it is damaged or without a
    checksum, of another network, or not finite.
    """
    tensors, texts = read_checked(path)
    wanted = network.state_dict()
    for name in sorted({*tensors, *wanted}):
        any_length = name in network.open_lengths
        expected, got = (kind_of(tensor, name, any_length) for tensor in (wanted, tensors))
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
class Shipped:
    """What weights of the package are for."""

    network: str
    """name in `NETWORKS`."""
    dataset: str
    """name in `DATASETS`, whose training split they were learned from."""
    recipe: str
    """SHA-256 of how they were learned, in hexadecimal; see `python -m ccenv.runs.lab weights`."""
    network_kwargs: dict[str, Any] = field(default_factory=dict)
    """of its builder."""
    transforms: tuple[str, ...] = ()
    """of images, those without chance; see `ccenv.data.transforms`."""


SHIPPED: dict[str, Shipped] = {
    "experts": Shipped(
        "experts",
        "cifar10",
        recipe="0a9f7010faddb44890040b60c9157a006c5c041d0e292c0a6eab55c8a1f04774",
        transforms=("halve",),
    ),
    "resnet20": Shipped(
        "resnet",
        "cifar10",
        recipe="bb5ede1b057aa01f5cafd7e0d5d23524935da9be9690eaf1b4121bfb4ccfee47",
        network_kwargs={"depth": 20},
    ),
}
"""Name of a file -> what its weights are for."""


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
    settings = dict(network_kwargs)
    if network in NETWORKS:
        parameters = inspect.signature(resolve(network, NETWORKS, "network")).parameters
        settings = {
            n: v for n, v in settings.items() if n not in parameters or v != parameters[n].default
        }
    return (
        f"network={network!r}, network_kwargs={settings}, dataset={dataset!r}, transforms={fixed}"
    )


def shipped_path(name: str) -> Path:
    """Where a file lies; an unknown name is refused, and the nearest named."""
    check_names([name], SHIPPED, "shipped weights")
    return PACKAGED / f"{name}.safetensors"


def load_shipped(network: GatedNetwork, name: str) -> None:
    """Gives a network the weights that are shipped for it, if everything is right.

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
    expected, got = SHIPPED[name].recipe, texts.get("fingerprint", "none")
    if texts.get("name") != name or got != expected:
        raise ValueError(
            f"expected weights {name!r} by the recipe {expected[:12]}... in {path}, got "
            f"{texts.get('name')!r} by {got[:12]}...; train them again: "
            f"python -m ccenv.runs.lab weights {name}"
        )
    network.load_state_dict(tensors)
