"""Finds every experiment of the lab's modules: name -> `Experiment`."""

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

from ccenv.runs import lab
from ccenv.runs.lab.experiment import Experiment


@functools.cache
def experiments() -> dict[str, Experiment]:
    """All experiments by name: a module of the lab that defines one has entered it."""
    by_name: dict[str, Experiment] = {}
    for module in modules():
        for experiment in defined_in(module):
            if by_name.setdefault(experiment.name, experiment) is not experiment:
                raise ValueError(
                    f"expected one experiment named {experiment.name!r}, got another one in "
                    f"{module.__name__}; rename it"
                )
    return dict(sorted(by_name.items()))


def modules() -> Iterator[ModuleType]:
    """Modules of the lab, but for its entrance."""
    for info in pkgutil.walk_packages(lab.__path__, f"{lab.__name__}."):
        if not info.name.endswith((".__main__", ".registry", ".tables")):
            yield importlib.import_module(info.name)


def defined_in(module: ModuleType) -> Iterator[Experiment]:
    """Experiments among a module's values, alone or in a tuple."""
    for value in vars(module).values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Experiment):
                yield one
