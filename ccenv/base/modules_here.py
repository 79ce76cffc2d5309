"""Finds modules of the working folder: (a name that the user gives, who imports) -> the module.

The working folder may be another person's, so commands keep it off `sys.path`: there every library
that tries an optional module (`dill`, `pynvml`) would run a file of that name.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

DOOR = "ccenv.base.registry"
"""Imports the names that the user gives, or trusts in a file."""
PASSED_ON = "CCENV_MODULES"
"""Environment variable of child processes: the folder, and what was found in it, as JSON."""
SAFE = {
    # Python puts the working folder before all libraries of a child process, and before its own.
    "PYTHONSAFEPATH": "1",
    # Set and empty as by default: else a file in the working folder may name a cache, of pickles.
    "NUMBA_CACHE_DIR": "",
}
"""Environment of commands, where the user has not set it."""


class ModulesOfFolder(MetaPathFinder):
    """Finds modules of one folder, after all others, for the user's names and their imports.

    A module found here finds its neighbours, at any time. A library finds none, also while a module
    found here imports it.
    """

    def __init__(self, folder: str, *names: str) -> None:
        """Takes the folder, and modules that another process found in it."""
        self.folder, self.names = folder, list(names)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for a module of the folder, None for an importer that may not find it."""
        # Modules below a package lie in the package.
        if path is not None or not self.may_find(name, importer()):
            return None
        spec = PathFinder.find_spec(name, [self.folder])
        if spec is not None and name not in self.names:
            self.names.append(name)
            os.environ[PASSED_ON] = json.dumps([self.folder, *self.names])
        return spec

    def may_find(self, name: str, asking: str) -> bool:
        """Whether a module may find another one; what was found may be found by all."""
        # A child process unpickles by name what its parent has found.
        return name in self.names or asking == DOOR or asking.partition(".")[0] in self.names


def importer() -> str:
    """Name of the module whose code imports; empty where a library imports without Python code."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name != __name__ and name.partition(".")[0] != "importlib":
            return name
        # A module that is no Python code has no frame of its own.
        if frame.f_code.co_name in ("create_module", "exec_module"):
            return ""
        frame = frame.f_back
    return ""


@contextlib.contextmanager
def modules_of(folder: str, *names: str) -> Iterator[None]:
    """Finds modules of the working folder for a while, in child processes too.

    Names are those of modules that were found in it elsewhere.
    """
    finder, before = ModulesOfFolder(folder, *names), dict(os.environ)
    os.environ.update({**SAFE, **before, PASSED_ON: json.dumps([folder, *names])})
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in {*SAFE, PASSED_ON} - set(before):
            os.environ.pop(name, None)
        os.environ.update(before)


def passed_on() -> tuple[str, ...]:
    """The folder in which a command finds modules, and what it found; empty where there is none."""
    return tuple(json.loads(os.environ.get(PASSED_ON, "[]")))


def install() -> None:
    """Finds in a child process what its parent finds; once is enough."""
    if PASSED_ON in os.environ and not any(isinstance(f, ModulesOfFolder) for f in sys.meta_path):
        sys.meta_path.append(ModulesOfFolder(*passed_on()))
