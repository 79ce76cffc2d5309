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

from gymnasium.envs.registration import register

from ccenv.base import modules_here, registry

if TYPE_CHECKING:
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
        gate,
        gateable,
    )
    from ccenv.runs.api import compare, load, train
    from ccenv.simulator.evaluate import evaluate
    from ccenv.simulator.menus import evaluate_menu
    from ccenv.sparse.linear import block_sparse_linear
    from ccenv.sparse.routes import explain_backend

_FOLDER = Path(__file__).parent
if not (_FOLDER / "agents").is_dir():
    # A checkout without symbolic links, as on Windows: the other two folders lie next to this one.
    __path__.append(str(_FOLDER.parent))

registry.install()
modules_here.install()

# The paper's architectures (Bengio et al. 2015, section 5).
PRESETS: dict[str, dict[str, Any]] = {
    "BlockSelection-v0": {},
    "BlockSelectionMNIST-v0": {"dataset": "mnist", "num_blocks": [16], "block_size": 16},
    "BlockSelectionCIFAR10-v0": {"dataset": "cifar10", "num_blocks": [10, 10], "block_size": 64},
    "BlockSelectionSVHN-v0": {"dataset": "svhn", "num_blocks": [25, 22], "block_size": 32},
}

# Systems that came after (runs/docs/systems); their settings may be given to the others too.
SYSTEMS: dict[str, dict[str, Any]] = {
    "BlockSelectionStreaming-v0": {"network": "streaming", "reward": "nll_minus_cost"},
    "BlockSelectionConcurrent-v0": {"weights": "cotrain", "concurrent": "inactive"},
}

# Looked up instead of computed: a table that comes with the package, or a file of
# `ccenv table build`.
TABLES: dict[str, dict[str, Any]] = {"BlockSelectionTable-v0": {"table": "resnet20"}}

ENVIRONMENTS = {**PRESETS, **SYSTEMS, **TABLES}

for _name, _settings in ENVIRONMENTS.items():
    _class = "table:BlockSelectionTable" if _name in TABLES else None
    register(
        _name,
        entry_point=f"ccenv.envs.{_class or 'scalar:BlockSelection'}Env",
        vector_entry_point=f"ccenv.envs.{_class or 'vector:BlockSelection'}VectorEnv",
        kwargs=_settings,
    )

ON_USE = {
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
        "gate",
        "gateable",
    ],
    "runs.api": ["compare", "load", "train"],
    "simulator.evaluate": ["evaluate"],
    "simulator.menus": ["evaluate_menu"],
    "sparse.linear": ["block_sparse_linear"],
    "sparse.routes": ["explain_backend"],
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
    "mask_table",
    "envs",
    "deploy",
)

__all__ = [
    "ENVIRONMENTS",
    "PRESETS",
    "SYSTEMS",
    "TABLES",
    "BlockSelectionEnv",
    "BlockSelectionVectorEnv",
    "Exit",
    "Gate",
    "GatedMLP",
    "GatedNetwork",
    "GatedSequential",
    "Stage",
    "block_sparse_linear",
    "check_network",
    "check_vector_env",
    "compare",
    "evaluate",
    "evaluate_menu",
    "explain_backend",
    "gate",
    "gateable",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    """Imports on use what is asked for."""
    if name in FOLDERS:
        return importlib.import_module(f"{__name__}.{name}")
    return registry.names_on_use(__name__, ON_USE)(name)


def __dir__() -> list[str]:
    """Names for completion."""
    return sorted([*globals(), *__all__, *FOLDERS])
