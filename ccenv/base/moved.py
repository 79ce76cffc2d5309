"""Finds modules by the names that they had before: (an earlier name) -> today's module.

Stored settings, exported classifiers, pickled networks and scripts name modules. `MODULES` is the
one place that says where these are today.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MODULES = {
    "ccenv.agents.actor_critic": "ccenv.agents.reinforce",
    "ccenv.agents.reinforce_lagrangian": "ccenv.agents.reinforce",
    "ccenv.agents.systems": "ccenv.annexes.agents",
    "ccenv.data.texts": "ccenv.annexes.data",
    "ccenv.deploy": "ccenv.annexes.deploy",
    "ccenv.mask_table": "ccenv.annexes.mask_table",
    "ccenv.networks.baselines": "ccenv.annexes.networks.baselines",
    "ccenv.networks.gating": "ccenv.annexes.networks.gating",
    "ccenv.networks.pretrained": "ccenv.annexes.networks.pretrained",
    "ccenv.networks.text": "ccenv.annexes.networks.text",
    "ccenv.simulator.extensions": "ccenv.annexes.simulator",
    "ccenv.sparse.gpu": "ccenv.annexes.sparse_gpu",
    "ccenv.tasks": "ccenv.annexes.tasks",
}
"""Earlier name of a package or module -> today's; what lies below it has moved with it."""
OBJECTS = {
    "ccenv.annexes.networks.pretrained.smollm_text:python_topics": (
        "ccenv.runs.lab.help_topics:python_topics"
    ),
    "ccenv.annexes.networks.pretrained.smollm:python_topics": (
        "ccenv.runs.lab.help_topics:python_topics"
    ),
}
"""What recorded results name by a module that it has left, and no table holds."""


def todays_module(name: str) -> str:
    """Today's name of a module.

    >>> todays_module("ccenv.deploy.export"), todays_module("ccenv.deployed")
    ('ccenv.annexes.deploy.export', 'ccenv.deployed')
    """
    for old, new in MODULES.items():
        if name == old or name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    return name


class MovedModules(MetaPathFinder, Loader):
    """Imports today's module where an earlier name is asked for: the same object by both names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for an earlier name, None for all others."""
        return None if todays_module(name) == name else ModuleSpec(name, self)

    def exec_module(self, module: ModuleType) -> None:
        """Puts today's module in the place of the empty one that was made for the name."""
        sys.modules[module.__name__] = importlib.import_module(todays_module(module.__name__))


def find_moved() -> None:
    """Finds modules by their earlier names from now on; once is enough."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        # Before the others: these would find `ccenv.deploy.export` in the folder of `ccenv.deploy`,
        # which is today's, and make a second module of the same file.
        sys.meta_path.insert(0, MovedModules())
