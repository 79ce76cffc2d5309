"""Old names of modules: import ccenv.runs.train -> the module of today, with a warning."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
import warnings
from collections.abc import Sequence


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads modules of `ccenv.base.registry.MOVED` by their old names.

    It is asked after all others, so that a name that leads to a file is never looked up here.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for a name of the table, None for others."""
        if not name.startswith("ccenv."):
            return None
        from ccenv.base.registry import MOVED

        return importlib.machinery.ModuleSpec(name, self) if name in MOVED else None

    def exec_module(self, module: types.ModuleType) -> None:
        """Puts the module of today in the place of the old name, and warns whoever imports it."""
        from ccenv.base.registry import MOVED

        name = module.__name__
        text = f"{name} has moved to {MOVED[name]}; the old name goes with the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        sys.modules[name] = importlib.import_module(MOVED[name])

    def get_code(self, name: str) -> types.CodeType:
        """What `python -m` runs of an old name: the program of today."""
        text = f"import sys; from {name} import main; sys.exit(main())"
        return compile(text, f"<{name}>", "exec")


def install() -> None:
    """Lets old names be imported; once is enough."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
