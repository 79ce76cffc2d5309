"""Conditional computation as a reinforcement-learning environment.

Everything is imported on use: tables of masks are played without torch.
"""

import os
import sys

# `python -m ccenv` has put the working folder before all libraries, see `base.modules_here`; it
# stays, behind them, where this package lies in it: in a checkout that is not installed.
if (
    sys.argv[:1] == ["-m"]
    and sys.orig_argv[-len(sys.argv)].removeprefix("-m").partition(".")[0] == __name__
    and not sys.flags.safe_path
):
    sys.path.append(sys.path.pop(0))
    if os.path.realpath(sys.path[-1]) != os.path.realpath(f"{__path__[0]}/.."):
        del sys.path[-1]

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccenv.annexes.tasks.catalogue import register_tasks
from ccenv.base import modules_here, moved
from ccenv.base.registry import names_on_use
from ccenv.envs import ENVIRONMENTS, PRESETS, SYSTEMS, register_all

if TYPE_CHECKING:
    from ccenv.annexes.networks.gating.gate import gate
    from ccenv.annexes.networks.gating.gateable import gateable
    from ccenv.annexes.tasks.catalogue import suite
    from ccenv.envs.actions import ActionView, VectorActionView
    from ccenv.envs.checker import check_vector_env
    from ccenv.envs.scalar import BlockSelectionEnv
    from ccenv.envs.vector import BlockSelectionVectorEnv
    from ccenv.networks import (
        Exit,
        Gate,
        GatedMLP,
        GatedNetwork,
        GatedSequential,
        Stage,
        check_network,
    )
    from ccenv.runs.api import load, train
    from ccenv.runs.comparing import compare
    from ccenv.simulator.evaluate import evaluate
    from ccenv.sparse.linear import block_sparse_linear
    from ccenv.sparse.routes import explain_backend

_FOLDER = Path(__file__).parent
if not (_FOLDER / "agents").is_dir():
    # A checkout without symbolic links, as on Windows: the other two folders lie next to this one.
    __path__.append(str(_FOLDER.parent))

modules_here.install()
moved.find_moved()
register_all()
register_tasks()

ON_USE = {
    "envs.actions": ["ActionView", "VectorActionView"],
    "envs.scalar": ["BlockSelectionEnv"],
    "envs.vector": ["BlockSelectionVectorEnv"],
    "envs.checker": ["check_vector_env"],
    "networks": [
        "Exit",
        "Gate",
        "GatedMLP",
        "GatedNetwork",
        "GatedSequential",
        "Stage",
        "check_network",
    ],
    "annexes.networks.gating.gate": ["gate"],
    "annexes.networks.gating.gateable": ["gateable"],
    "runs.api": ["load", "train"],
    "runs.comparing": ["compare"],
    "simulator.evaluate": ["evaluate"],
    "sparse.linear": ["block_sparse_linear"],
    "sparse.routes": ["explain_backend"],
    "annexes.tasks.catalogue": ["suite"],
}
"""Module -> names in it that are this package's, too."""
FOLDERS = (
    "base",
    "sparse",
    "data",
    "networks",
    "mdp",
    "rewards",
    "simulator",
    "envs",
    "annexes",
)

__all__ = [
    "ENVIRONMENTS",
    "PRESETS",
    "SYSTEMS",
    "ActionView",
    "BlockSelectionEnv",
    "BlockSelectionVectorEnv",
    "Exit",
    "Gate",
    "GatedMLP",
    "GatedNetwork",
    "GatedSequential",
    "Stage",
    "VectorActionView",
    "block_sparse_linear",
    "check_network",
    "check_vector_env",
    "compare",
    "evaluate",
    "explain_backend",
    "gate",
    "gateable",
    "load",
    "suite",
    "train",
]


def __getattr__(name: str) -> Any:
    """Imports on use what is asked for."""
    if name in FOLDERS:
        return importlib.import_module(f"{__name__}.{name}")
    return names_on_use(__name__, ON_USE)(name)


def __dir__() -> list[str]:
    """Names for completion."""
    return sorted([*globals(), *__all__, *FOLDERS])
