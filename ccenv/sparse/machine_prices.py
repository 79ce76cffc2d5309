"""Which prices `auto` goes by: (a layer, this machine) -> those measured here, or those shipped.

The first layer that is large enough to matter has this machine measured: once, some seconds, told
on the standard error stream, then read from a file of the user's cache, named by the processor, the
versions and the kernels' sources. Small layers go by the shipped prices, whatever is known: they
neither wait nor depend on what came before. Prices that cannot be kept are not measured, so that
the same program goes the same ways on the same machine. `CCENV_CALIBRATE=0` switches it off, and
programs that record results go by the shipped prices (`ccenv.sparse.price_switch`).
"""

import functools
import hashlib
import json
import os
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from ccenv.base.checked_arrays import read_arrays, write_arrays
from ccenv.base.processor import cpu_model
from ccenv.base.user_cache import user_cache
from ccenv.sparse.cost_model import Costs, Factors, costs
from ccenv.sparse.layer_costs import Layer
from ccenv.sparse.price_switch import given

LEAST_MACS = 1 << 22
"""of a dense product (some tenth of a millisecond) from which on a layer is worth measuring."""
SWITCH, OFF = "CCENV_CALIBRATE", ("0", "off", "no", "false")
SOURCES = (
    *("cpu", "calibration.py", "cost_model.py", "layer_costs.py", "shipped_costs.py"),
    *("masked_dense.py", "few_rows.py"),
)
"""of this folder, on which factors depend."""
CAUTION = 0.95
"""By the layers that shipped prices were fitted to (the lab's `routes`): with 1 in its place
choices take 1.005 times the better way's time forward in the mean, with 0.95 1.006, with 0.85
1.016. A kernel that was taken wrongly may cost double, so a little of it."""
RANGE = 100.0
"""A factor beyond this, or its inverse, is none."""
_one_at_a_time = threading.Lock()


def prices_for(layer: Layer) -> Costs | None:
    """What is known of this machine and used for a layer; None for the shipped prices."""
    known: Costs | None
    is_given, known = given()
    if is_given:
        return known
    if layer.batch * layer.weights < LEAST_MACS:
        return None
    return machine_prices(torch.get_num_threads())


def machine_prices(threads: int) -> Costs | None:
    """Prices of this machine for so many torch threads, measured if they were never; None if off.

    Args:
        threads: torch's.
    """
    with _one_at_a_time:
        return _machine_prices(threads)


@functools.cache
def _machine_prices(threads: int) -> Costs | None:
    if os.environ.get(SWITCH, "").lower() in OFF:
        return None
    try:
        path = price_file(threads)
        factors = read_factors(path) or kept_factors(path, threads)
    except OSError as error:
        tell(
            f"this machine's speed cannot be kept and is not measured: {error}; give a folder that "
            "can be written in as CCENV_CACHE; until then layers are computed in the ways that "
            "were fastest elsewhere"
        )
        return None
    return costs().on(factors, CAUTION)


def forget_prices() -> None:
    """Has the file looked at again on the next use: after another cache folder was named."""
    _machine_prices.cache_clear()


def identity(threads: int) -> dict[str, str]:
    """What the prices of a machine depend on."""
    from ccenv.sparse.cpu.codegen.registers import LANES

    return {
        "cpu": cpu_model(),
        "lanes": str(LANES),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(threads),
        "torch": version("torch"),
        "numba": version("numba"),
        "kernels": sources_digest(),
    }


@functools.cache
def sources_digest() -> str:
    """SHA-256 of the kernels' sources and of what is measured of them."""
    here, digest = Path(__file__).parent, hashlib.sha256()
    for name in SOURCES:
        paths = [here / name] if name.endswith(".py") else sorted((here / name).rglob("*.py"))
        for path in paths:
            digest.update(str(path.relative_to(here)).encode() + path.read_bytes())
    return digest.hexdigest()


def price_file(threads: int) -> Path:
    """Where this machine's factors are kept.

    Raises:
        FileNotFoundError: if the user has no cache folder.
    """
    name = hashlib.sha256(json.dumps(identity(threads)).encode()).hexdigest()[:16]
    return user_cache() / "prices" / f"{name}.safetensors"


def read_factors(path: Path) -> tuple[Factors, Factors] | None:
    """Factors forward and in training; None where there are none, or damaged ones, which is told.

    Raises:
        OSError: if there is a file that cannot be read.
    """
    names = list(Factors.__dataclass_fields__)
    try:
        arrays, texts, is_checked = read_arrays(path)
        found = arrays["factors"]
        if not is_checked or texts.get("names") != json.dumps(names):
            raise ValueError(f"expected factors {names}, got {texts.get('names')}")
        if found.shape != (2, len(names)) or found.dtype != np.float64:
            raise ValueError(f"expected 2 x {len(names)} numbers, got {found.dtype} {found.shape}")
        if not bool(((found > 1 / RANGE) & (found < RANGE)).all()):
            raise ValueError(f"expected factors between {1 / RANGE} and {RANGE}, got {found}")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        tell(f"what was measured of this machine cannot be used and is measured anew: {error}")
        return None
    forward, training = (Factors(*map(float, row)) for row in found)
    return forward, training


def kept_factors(path: Path, threads: int) -> tuple[Factors, Factors]:
    """Measures this machine and keeps what was found; one process at a time.

    Raises:
        OSError: if it cannot be kept.
    """
    # Imported on use: it is not needed once the file is there.
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists() and (found := read_factors(path)) is not None:
            return found
        tell(
            "measuring kernels beside dense products on this machine (about four seconds; once, "
            f"then cached; {SWITCH}=0 switches it off)"
        )
        factors = measured_apart(threads)
        texts = {**identity(threads), "names": json.dumps(list(Factors.__dataclass_fields__))}
        table = np.array([list(vars(found).values()) for found in factors])
        write_arrays(path, {"factors": table}, texts)
        return factors


def measured_apart(threads: int) -> tuple[Factors, Factors]:
    """Measures in a thread of its own: modes that count or trace belong to the caller's."""
    from ccenv.sparse.calibration import fit, measure

    found: list[tuple[Factors, Factors]] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            torch.set_num_threads(threads)
            found.append(fit(measure(), costs()))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="ccenv calibration")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def tell(text: str) -> None:
    """Writes a message to the standard error stream without breaking progress bars."""
    from tqdm import tqdm

    tqdm.write(f"ccenv: {text}", file=sys.stderr)
