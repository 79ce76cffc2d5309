"""Names to objects: (name or "module:attribute", table) -> the object, or an error that helps.

Modules of earlier versions are imported by their old names, with a warning, see `MOVED`.
"""

import difflib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ccenv.base.values import shown


class UnexpectedKeywordError(ValueError, TypeError):
    """A keyword argument that is unknown: a `ValueError` that names the nearest right one.

    Also a `TypeError` with the text of Python's own, from which TorchRL learns what is accepted.
    """


ELSEWHERE = {
    "a2c": "sb3_a2c",
    "ppo": "sb3_ppo",
    "trpo": "sb3_trpo",
    "batch": "batch_size",
    "cost_weight": "reward_kwargs.cost_weight",
    "data": "dataset",
    "ent_coef": "entropy_weight",
    "env_id": "env",
    "epochs": "images",
    "lr": "learning_rate",
    "model": "network",
    "n_envs": "batch_size",
    "num_envs": "batch_size",
    "price": "reward_kwargs.cost_weight",
    "random": "block_dropout",
    "static": "fixed_mask",
    "timesteps": "images",
    "total_timesteps": "images",
}
"""Name that other libraries, or a reward's own settings, have -> the name here."""
UNDISCOUNTED = "returns are not discounted; gamma is a setting of sb3_a2c, sb3_ppo and sb3_trpo"


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint that names the closest known name, or all of them where none is close.

    >>> nearest("reinforse", ["reinforce", "rloo"])
    "did you mean 'reinforce'?"
    >>> nearest("PPO", ["dense", "sb3_ppo"]), nearest("MNIST", ["mnist", "svhn"])
    ("did you mean 'sb3_ppo'?", "did you mean 'mnist'?")
    >>> nearest("acuracy", ["accuracy_minus_cost", "balance"])
    "did you mean 'accuracy_minus_cost'?"
    """
    known = sorted(known)
    meant = ELSEWHERE.get(name.lower(), name.lower())
    if meant.partition(".")[0] in known:
        return f"did you mean {meant!r}?"
    if name == "gamma" and "learning_rate" in known:
        return UNDISCOUNTED
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    # The first word of a longer name.
    begins = {one.partition("_")[0]: one for one in reversed(known)}
    close = difflib.get_close_matches(name, begins, n=1, cutoff=0.75)
    if close:
        return f"did you mean {begins[close[0]]!r}?"
    return f"choose one of {', '.join(known)}" if known else "there are none"


def check_names(given: Iterable[str], known: Iterable[str], kind: str) -> None:
    """Refuses a name that is not known with a ValueError that suggests the nearest right one."""
    known = set(known)
    for name in given:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"unknown {kind} {shown(name)}: {nearest(str(name), known)}")


def check_keywords(given: Iterable[str], known: Iterable[str], kind: str) -> None:
    """As `check_names` does, with an `UnexpectedKeywordError`."""
    for name in given:
        try:
            check_names([name], known, kind)
        except ValueError as error:
            text = f"{error} (got an unexpected keyword argument {shown(name)})"
            raise UnexpectedKeywordError(text) from None


def import_object(path: str, kind: str) -> Any:
    """Imports `module:attribute`; ValueError where there is no such module or attribute."""
    module_name, _, attribute = today(path).partition(":")
    if not module_name or module_name.startswith(".") or not attribute:
        raise ValueError(f"expected {kind} as module:name, got {shown(path)}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that is missing inside the user's module is their traceback to read, not ours.
        missing = error.name or module_name
        if module_name != missing and not module_name.startswith(f"{missing}."):
            raise
        raise ValueError(
            f"{kind} {shown(path)}: no module named {shown(module_name)}; "
            "give module:attribute with a module that Python can import from here"
        ) from error
    if not hasattr(module, attribute):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise ValueError(
            f"{kind} {shown(path)}: module {module_name!r} has no attribute {shown(attribute)}; "
            f"{nearest(attribute, names)}"
        )
    return getattr(module, attribute)


def names_on_use(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Makes a package's `__getattr__`: a name's module is imported when the name is asked for.

    Args:
        package: its `__name__`.
        names: module below the package -> names in it.
    """
    places = {name: f"{package}.{module}" for module, own in names.items() for name in own}

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(places[name]), name)
        # Kept, so that it is looked for once.
        setattr(sys.modules[package], name, found)
        return found

    return find


OWN_PACKAGE = "ccenv"
"""What belongs to this project."""
FOLDERS = ("agents.", "runs.")
"""Folders of a checkout that are installed below `ccenv`."""
COMMANDS_MOVED = (
    "benchmark",
    "cli",
    "compare",
    "completion",
    "eval",
    "export",
    "list",
    "plot",
    "search",
    "serve",
    "settings_help",
    "table",
    "train",
    "validate",
)
"""Modules of `ccenv.runs` that lie in `ccenv.runs.commands` today."""
MOVED = {
    "ccenv.probe": "ccenv.networks.probe",
    "ccenv.networks:GatedMLP": "ccenv.networks.core.mlp:GatedMLP",
    "runs.sweeps.unit_dropout": "ccenv.networks.baselines.dense",
    "ccenv.data.__main__": "ccenv.runs.commands.data",
    "ccenv.runs.programs": "ccenv.runs.commands.frame",
    "ccenv.runs.view": "ccenv.runs.commands.inspect",
    "ccenv.runs.share": "ccenv.runs.commands.export",
    "ccenv.runs.write": "ccenv.runs.commands.generate",
    **{f"ccenv.runs.{name}": f"ccenv.runs.commands.{name}" for name in COMMANDS_MOVED},
    "ccenv.runs.gates": "ccenv.runs.commands.analyze",
    "ccenv.runs.leaks": "ccenv.runs.commands.analyze",
    "ccenv.runs.retrieval": "ccenv.runs.commands.analyze",
    "ccenv.agents.counted_blocks": "ccenv.agents.count_policy",
    "ccenv.agents.groups": "ccenv.agents.advantages",
    "ccenv.agents.menus": "ccenv.agents.mask_menu",
    "ccenv.agents.numbers_of_blocks": "ccenv.agents.count_policy",
    "ccenv.agents.sb3_actor": "ccenv.agents.sb3_settings",
    "ccenv.agents.soft_masks": "ccenv.agents.straight_through_ops",
    "ccenv.data.bundled": "ccenv.data.toy",
    "ccenv.data.checked": "ccenv.data.split",
    "ccenv.data.fitted": "ccenv.data.transforms",
    "ccenv.data.fitted_transforms": "ccenv.data.transforms",
    "ccenv.data.given": "ccenv.data.user_data",
    "ccenv.data.map_style": "ccenv.data.user_data",
    "ccenv.data.mixed": "ccenv.data.real",
    "ccenv.data.moved_copies": "ccenv.data.transforms",
    "ccenv.data.parity": "ccenv.data.toy",
    "ccenv.data.probe": "ccenv.data.toy",
    "ccenv.data.surprise": "ccenv.data.toy",
    "ccenv.data.text_archives": "ccenv.data.text_files",
    "ccenv.data.unpacked": "ccenv.data.npz",
    "ccenv.envs.action_views": "ccenv.envs.actions",
    "ccenv.envs.checked_calls": "ccenv.envs.checker",
    "ccenv.envs.nested": "ccenv.envs.rows",
    "ccenv.envs.options": "ccenv.envs.rows",
    "ccenv.envs.sb3_views": "ccenv.envs.stable_baselines",
    "ccenv.envs.window": "ccenv.envs.rendering",
    "ccenv.mdp.looks": "ccenv.mdp.observations",
    "ccenv.mdp.symbols": "ccenv.mdp.observations",
    "ccenv.networks.build": "ccenv.networks.core.arguments",
    "ccenv.networks.check": "ccenv.networks.core.check",
    "ccenv.networks.check_reads": "ccenv.networks.core.check",
    "ccenv.networks.costs": "ccenv.networks.core.mlp",
    "ccenv.networks.counting": "ccenv.networks.core.count_macs",
    "ccenv.networks.dropout": "ccenv.networks.baselines.dense",
    "ccenv.networks.exits": "ccenv.networks.core.exit_state",
    "ccenv.networks.finite_weights": "ccenv.networks.core.parameters",
    "ccenv.networks.flow": "ccenv.networks.core.exit_state",
    "ccenv.networks.frozen_cache": "ccenv.networks.learning.frozen_cache",
    "ccenv.networks.gate_values": "ccenv.networks.learning.training",
    "ccenv.networks.gating.gated_walk": "ccenv.networks.gating.gated_module",
    "ccenv.networks.gating.seen_values": "ccenv.networks.gating.trace",
    "ccenv.networks.inactive": "ccenv.networks.core.parameters",
    "ccenv.networks.memory": "ccenv.networks.core.parameters",
    "ccenv.networks.mlp": "ccenv.networks.core.mlp",
    "ccenv.networks.models": "ccenv.networks",
    "ccenv.networks.models.chunks": "ccenv.networks.stages.streaming",
    "ccenv.networks.models.conv": "ccenv.networks.vision.conv",
    "ccenv.networks.models.early": "ccenv.networks.vision.early_exit",
    "ccenv.networks.models.embedding": "ccenv.networks.text.embedding",
    "ccenv.networks.models.experts": "ccenv.networks.vision.experts",
    "ccenv.networks.models.hashed_rows": "ccenv.networks.text.tokens",
    "ccenv.networks.models.linear_stage": "ccenv.networks.stages.linear",
    "ccenv.networks.models.look_ups": "ccenv.networks.text.embedding",
    "ccenv.networks.models.ngram": "ccenv.networks.text.ngram",
    "ccenv.networks.models.ngram_counts": "ccenv.networks.text.ngram",
    "ccenv.networks.models.patch_trunk": "ccenv.networks.stages.streaming",
    "ccenv.networks.models.pondering": "ccenv.networks.vision.early_exit",
    "ccenv.networks.models.probe_units": "ccenv.networks.probe",
    "ccenv.networks.models.pruned": "ccenv.networks.baselines.pruned",
    "ccenv.networks.models.pruned_blocks": "ccenv.networks.baselines.pruned",
    "ccenv.networks.models.pruned_weights": "ccenv.networks.baselines.pruned",
    "ccenv.networks.models.residual": "ccenv.networks.vision.residual",
    "ccenv.networks.models.small_conv": "ccenv.networks.baselines.dense",
    "ccenv.networks.models.stream": "ccenv.networks.stages.streaming",
    "ccenv.networks.models.streaming": "ccenv.networks.stages.streaming",
    "ccenv.networks.models.summed": "ccenv.networks.stages.residual_groups",
    "ccenv.networks.models.text_rivals": "ccenv.networks.baselines.text",
    "ccenv.networks.models.tokens": "ccenv.networks.text.tokens",
    "ccenv.networks.models.transformer": "ccenv.networks.vision.transformer",
    "ccenv.networks.models.whole": "ccenv.networks.stages.linear",
    "ccenv.networks.models.windows": "ccenv.networks.text.tokens",
    "ccenv.networks.norms": "ccenv.networks.core.inference_copy",
    "ccenv.networks.one_row": "ccenv.networks.core.one_row",
    "ccenv.networks.operations": "ccenv.networks.core.count_macs",
    "ccenv.networks.packed": "ccenv.networks.core.inference_copy",
    "ccenv.networks.pretrained.llama": "ccenv.networks.pretrained.smollm",
    "ccenv.networks.pretrained.mobile_blocks": "ccenv.networks.pretrained.efficientnet",
    "ccenv.networks.pretrained.smollm_file": "ccenv.networks.pretrained.smollm",
    "ccenv.networks.pretrained.smollm_text": "ccenv.networks.pretrained.smollm",
    "ccenv.networks.protocol": "ccenv.networks.core.protocol",
    "ccenv.networks.recipe": "ccenv.networks.learning.recipe",
    "ccenv.networks.sequential": "ccenv.networks.core.sequential",
    "ccenv.networks.shipped": "ccenv.networks.learning.bundled_weights",
    "ccenv.networks.stage": "ccenv.networks.core.stage",
    "ccenv.networks.table": "ccenv.networks.registry",
    "ccenv.networks.teacher": "ccenv.networks.learning.distillation",
    "ccenv.networks.training": "ccenv.networks.learning.training",
    "ccenv.networks.stages.patches": "ccenv.networks.stages.streaming",
    "ccenv.networks.text.hashed_rows": "ccenv.networks.text.tokens",
    "ccenv.networks.models.embedding:next_byte": "ccenv.networks.text.embedding:TokenMLP",
    "ccenv.networks.text.embedding:next_byte": "ccenv.networks.text.embedding:TokenMLP",
    "ccenv.networks.models.ngram:ngram": "ccenv.networks.text.ngram:Ngram",
    "ccenv.networks.text.ngram:ngram": "ccenv.networks.text.ngram:Ngram",
    "ccenv.networks.models.streaming:streaming": "ccenv.networks.stages.streaming:Streaming",
    "ccenv.networks.stages.streaming:streaming": "ccenv.networks.stages.streaming:Streaming",
    "ccenv.rewards.balance": "ccenv.rewards.block_use",
    "ccenv.rewards.description": "ccenv.rewards.bind",
    "ccenv.rewards.stateful": "ccenv.rewards.bind",
    "ccenv.rewards.target_density": "ccenv.rewards.block_use",
    "ccenv.rewards.time_table": "ccenv.rewards.latency",
    "ccenv.simulator.sb3_policy": "ccenv.simulator.policy",
    "ccenv.simulator.ranges": "ccenv.simulator.context",
    "ccenv.simulator.spending": "ccenv.simulator.context",
    "ccenv.simulator.published": "ccenv.simulator.concurrent",
    "ccenv.simulator.snapshots": "ccenv.simulator.concurrent",
    "ccenv.simulator.versions": "ccenv.simulator.concurrent",
    "ccenv.simulator.weights": "ccenv.simulator.network_source",
    "ccenv.simulator.image_order": "ccenv.simulator.simulator",
    "ccenv.simulator.cotraining": "ccenv.simulator.simulator",
}
"""Modules, and names of modules, that files and programs of earlier versions name.

A module is imported by its old name too, see `ccenv.base.registry`.
"""


def today(path: str) -> str:
    """`module:attribute` with the module's name of today, for files that earlier versions wrote.

    >>> today("agents.rloo:Rloo"), today("agents.of_mine:Agent")
    ('ccenv.agents.rloo:Rloo', 'agents.of_mine:Agent')
    """
    inside = in_todays_words(path)
    # Other people may own a package of these names.
    is_theirs = path.startswith(FOLDERS) and not has_module(inside.partition(":")[0])
    return path if is_theirs else inside


def in_todays_words(path: str) -> str:
    """What `today` gives where there is such a module; nothing is imported to find out.

    >>> in_todays_words("agents.of_mine:Agent")
    'ccenv.agents.of_mine:Agent'
    """
    module, colon, attribute = path.partition(":")
    if path in MOVED:
        return MOVED[path]
    if module in MOVED:
        return f"{MOVED[module]}{colon}{attribute}"
    return f"{OWN_PACKAGE}.{path}" if module.startswith(FOLDERS) else path


def has_module(name: str) -> bool:
    """Whether there is a module of this name; packages above it are imported, it is not."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def resolve(name: Any, table: Mapping[str, Any], kind: str) -> Any:
    """Looks a name up in a table; `module:attribute` is imported; other objects pass unchanged.

    A table's values may be `module:attribute` strings too: those are imported on use, which keeps
    optional libraries out of the way until somebody asks for them.

    Raises:
        ValueError: if the name is unknown (the nearest right one is suggested) or not importable.

    >>> resolve("pi", {"pi": "math:pi"}, kind="constant")
    3.141592653589793
    """
    if not isinstance(name, str):
        return name
    if name in table:
        entry = table[name]
        return import_object(entry, kind) if isinstance(entry, str) else entry
    if ":" in name:
        return import_object(name, kind)
    hint = nearest(name, table)
    raise ValueError(f"unknown {kind} {shown(name)}: {hint} (yours: module:name)")


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads modules of `MOVED` by their old names; asked after all other finders."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for a name of the table, None for others."""
        if not name.startswith("ccenv."):
            return None

        return importlib.machinery.ModuleSpec(name, self) if name in MOVED else None

    def exec_module(self, module: types.ModuleType) -> None:
        """Puts the module of today in the place of the old name, and warns whoever imports it."""
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
