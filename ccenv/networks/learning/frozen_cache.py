"""Cache of learned weights: (a network, the name of its file) -> weights that were learned once."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from ccenv.base.checked_file import DamagedFileError, check_finite, read_checked, write_checked
from ccenv.base.user_cache import user_cache
from ccenv.networks.core.protocol import GatedNetwork

PACKAGED = Path(__file__).parents[1] / "weights"
"""Weights that come with the package: `NAME-<what they depend on>.safetensors` are frozen ones."""


def learned_once(network: GatedNetwork, name: str, learn: Callable[[], None]) -> None:
    """Reads a network's weights from the package or the cache; learns and stores them otherwise.

    A file that is damaged or of another network is replaced, with a warning on the standard error
    stream; a cache that cannot be written to gives a warning too.

    Args:
        network: changed in place. Tensors that it names in `open_lengths` (one-dimensional ones)
            are as long as what was learned makes them; its `load_state_dict` takes them so.
        name: of the file, different for all that the weights depend on.
        learn: trains the network.

    Raises:
        ValueError: if what was learned is not finite.
    """
    path = user_cache() / "weights" / f"{name}.safetensors"
    for there in (*PACKAGED.glob(f"*-{name}.safetensors"), path):
        with contextlib.suppress(OSError, ValueError):
            tensors, is_checked = fitting_weights(network, there)
            if is_checked:
                network.load_state_dict(tensors)
                return
    with held(path):
        # Another process may have learned them meanwhile.
        if not take_weights(network, path):
            learn()
            check_finite(network.state_dict(), "the network that was pre-trained")
            store(lambda: write_checked(path, network.state_dict(), {}), "weights")


def take_weights(network: GatedNetwork, path: Path) -> bool:
    """Loads a network's weights from a file; returns whether it could, and warns if it could not.

    Files that were written before there were checksums are adopted where they fit and are finite:
    recorded results were made with these very numbers, which another number of threads would not
    learn to the bit. They are written anew with a checksum.
    """
    try:
        tensors, is_checked = fitting_weights(network, path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        tell(f"cached weights cannot be used and are learned anew: {error}")
        return False
    network.load_state_dict(tensors)
    if not is_checked:
        tell(f"cached weights had no checksum yet and are adopted with one: {path}")
        store(lambda: write_checked(path, network.state_dict(), {}), "weights")
    return True


def fitting_weights(network: GatedNetwork, path: Path) -> tuple[dict[str, Tensor], bool]:
    """Reads weights of a network, and whether they were compared with a checksum.

    Raises:
        OSError: if there is no such file, or it cannot be read.
        ValueError: if it is damaged, of another network, or not finite.
    """
    tensors, texts, is_checked = read_checked(path)
    if texts:
        raise DamagedFileError(f"expected {path} to hold weights, got {sorted(texts)} beside them")
    wanted, open_lengths = network.state_dict(), network.open_lengths
    for name in sorted({*tensors, *wanted}):
        expected, got = (kind_of(found, name, name in open_lengths) for found in (wanted, tensors))
        if expected != got:
            raise ValueError(f"expected {expected} as {name!r} in {path}, got {got}")
    check_finite(tensors, str(path))
    return tensors, is_checked


def kind_of(tensors: Mapping[str, Tensor], name: str, any_length: bool = False) -> str:
    """Type and shape of a tensor, for messages; of one that may have any length only its type.

    >>> kind_of({}, "weight")
    'no tensor'
    """
    if name not in tensors:
        return "no tensor"
    shape = ["any length"] if any_length else list(tensors[name].shape)
    return f"{tensors[name].dtype} {shape}"


def store(write: Callable[[], None], what: str) -> None:
    """Writes to the cache, or says that what was made is only in memory."""
    try:
        write()
    except OSError as error:
        tell(
            f"{what} cannot be stored and will be made again next time: {error}; "
            "give a folder that can be written in as CCENV_CACHE"
        )


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a cached file against other processes, where the cache can be written in."""
    # Imported on use: it is not needed once the weights are there.
    from filelock import FileLock

    with contextlib.ExitStack() as stack:
        # Where there is no place for a lock there is none for a file either: `store` says so.
        with contextlib.suppress(OSError, NotImplementedError):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(path.with_suffix(".lock")))
        yield


def tell(text: str) -> None:
    """Writes a message to the standard error stream without breaking progress bars."""
    tqdm.write(f"ccenv: {text}", file=sys.stderr)
