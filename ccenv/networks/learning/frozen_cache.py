"""Cache of learned weights: (a network, the name of its file) -> weights that were learned once."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from ccenv.base.checked_file import DamagedFileError, check_finite, read_checked, write_checked
from ccenv.base.user_cache import user_cache
from ccenv.networks.core.abilities import OpenLengths, ability
from ccenv.networks.core.protocol import GatedNetwork

PACKAGED = Path(__file__).parents[1] / "weights"
"""Weights that come with the package: `NAME-<what they depend on>.safetensors` are frozen ones."""


def learned_once(network: GatedNetwork, name: str, learn: Callable[[], None]) -> None:
    """Reads a network's weights from the package or the cache; learns and stores them otherwise.

    A file that is damaged or of another network is replaced, with a warning on the standard error
    stream; a cache that cannot be written to gives a warning too.

    Args:
        network: changed in place.
        name: of the file, different for all that the weights depend on.
        learn: trains the network.

    Raises:
        ValueError: if what was learned is not finite.
    """
    path = user_cache() / "weights" / f"{name}.safetensors"
    for there in (*PACKAGED.glob(f"*-{name}.safetensors"), path):
        with contextlib.suppress(OSError, ValueError):
            network.load_state_dict(fitting_weights(network, there)[0])
            return
    with held(path):
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
        store(lambda: write_checked(path, network.state_dict(), {}), "weights")


def fitting_weights(network: GatedNetwork, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads weights of a network and the texts stored with them.

    Tensors of `OpenLengths` may have any length.

    Raises:
        OSError: if there is no such file, or it cannot be read.
        ValueError: if it is damaged or without a checksum, of another network, or not finite.
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
            # Of a process that was killed while it wrote.
            for half in path.parent.glob(f"{path.name}.*.partial"):
                half.unlink(missing_ok=True)
        yield


def tell(text: str) -> None:
    """Writes a message to the standard error stream without breaking progress bars."""
    tqdm.write(f"ccenv: {text}", file=sys.stderr)
