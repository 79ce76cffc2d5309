"""Names to objects: (name or "module:attribute", table) -> the object, or an error that helps."""

import difflib
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.machinery import PathFinder
from typing import Any

from ccenv.base.moved import OBJECTS, todays_module
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
    "cost_limit": "reward_kwargs.cost_limit",
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


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns a hint that names the closest known name, or all of them where none is close.

    >>> nearest("reinforse", ["reinforce", "rloo"])
    "did you mean 'reinforce'?"
    >>> nearest("PPO", ["dense", "sb3_ppo"]), nearest("MNIST", ["mnist", "svhn"])
    ("did you mean 'sb3_ppo'?", "did you mean 'mnist'?")
    >>> nearest("cost_wieght", ["cost_limit", "reward_kwargs"])
    "did you mean 'reward_kwargs.cost_weight'?"
    >>> nearest("acuracy", ["accuracy_minus_cost", "balance"])
    "did you mean 'accuracy_minus_cost'?"
    """
    names = sorted(names)
    meant = ELSEWHERE.get(name.lower(), name.lower())
    if meant.partition(".")[0] in names:
        return f"did you mean {meant!r}?"
    if name == "gamma" and "learning_rate" in names:
        return UNDISCOUNTED
    others = {one: there for one, there in ELSEWHERE.items() if there.partition(".")[0] in names}
    close = difflib.get_close_matches(name, [*names, *others], n=1, cutoff=0.6)
    if close:
        return f"did you mean {others.get(close[0], close[0])!r}?"
    # The first word of a longer name.
    begins = {one.partition("_")[0]: one for one in reversed(names)}
    close = difflib.get_close_matches(name, begins, n=1, cutoff=0.75)
    if close:
        return f"did you mean {begins[close[0]]!r}?"
    return f"choose one of {', '.join(names)}" if names else "there are none"


def check_names(names: Iterable[str], allowed: Iterable[str], kind: str) -> None:
    """Refuses a name that is not known with a ValueError that suggests the nearest right one."""
    allowed = set(allowed)
    for name in names:
        if not isinstance(name, str) or name not in allowed:
            raise ValueError(f"unknown {kind} {shown(name)}: {nearest(str(name), allowed)}")


def check_keywords(names: Iterable[str], allowed: Iterable[str], kind: str) -> None:
    """As `check_names` does, with an `UnexpectedKeywordError`."""
    for name in names:
        try:
            check_names([name], allowed, kind)
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
    """A package's `__getattr__`: imports names on use, by the modules below it that have them."""
    places = {name: f"{package}.{module}" for module, members in names.items() for name in members}

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        attribute = getattr(importlib.import_module(places[name]), name)
        # Kept, so that it is looked for once.
        setattr(sys.modules[package], name, attribute)
        return attribute

    return find


class NameTable(dict[str, Any]):
    """What names stand for; an entry that is "module:attribute" is imported when it is looked up.

    Optional libraries so stay out of the way; `values()` and `items()` import nothing.

    >>> table = NameTable(pi="math:pi")
    >>> table["pi"], list(table.values())
    (3.141592653589793, ['math:pi'])
    """

    def __getitem__(self, name: str) -> Any:
        entry = super().__getitem__(name)
        return import_object(entry, shown(name)) if isinstance(entry, str) else entry


OWN_PACKAGE = "ccenv"
"""What belongs to this project."""
TABLES = {
    "agent": "ccenv.agents:AGENTS",
    "environment": "ccenv.envs:ENVIRONMENTS",
    "dataset": "ccenv.data.registry:DATASETS",
    "network": "ccenv.networks:NETWORKS",
    "reward": "ccenv.rewards:REWARDS",
    "activation": "ccenv.sparse.linear:ACTIVATIONS",
    "observation": "ccenv.mdp.observations:OBSERVATIONS",
    "transform": "ccenv.data.transforms:TRANSFORMS",
}
"""Kind of a name -> the table in which it stands, imported on use."""
OF_MODULES = ("agent", "dataset", "network", "reward")
"""Tables of "module:attribute"."""


def today(path: str) -> str:
    """`module:attribute` with the module's name of today, for files that earlier versions wrote.

    An attribute of this package whose module is gone is looked for in the tables; see
    `ccenv.base.moved` for those that have moved.

    >>> today("ccenv.agents.earlier:Rloo"), today("of_mine:Rloo")
    ('ccenv.agents.rloo:Rloo', 'of_mine:Rloo')
    """
    module, colon, attribute = path.partition(":")
    module = todays_module(module)
    path = OBJECTS.get(f"{module}:{attribute}", f"{module}{colon}{attribute}")
    module = path.partition(":")[0]
    if not module.startswith(f"{OWN_PACKAGE}.") or has_module(module):
        return path
    for kind in OF_MODULES:
        home, _, name = TABLES[kind].partition(":")
        for entry in getattr(importlib.import_module(home), name).values():
            if entry.endswith(f":{attribute}"):
                return str(entry)
    return path


def has_module(name: str) -> bool:
    """Whether this package has a module of this name; nothing is imported to find out.

    A file of another person may name a program of ours as the package above a module.
    """
    if name in sys.modules:
        return True
    package, *parts = name.split(".")
    places: Iterable[str] | None = sys.modules[package].__path__
    for part in parts:
        package = f"{package}.{part}"
        spec = None if places is None else PathFinder.find_spec(package, list(places))
        if spec is None:
            return False
        places = spec.submodule_search_locations
    return True


def resolve(name: Any, table: Mapping[str, Any], kind: str) -> Any:
    """Looks a name up in a table; `module:attribute` is imported; other objects pass unchanged.

    Raises:
        ValueError: if the name is unknown (the nearest right one is suggested) or not importable.

    >>> resolve("pi", NameTable(pi="math:pi"), kind="constant")
    3.141592653589793
    """
    if not isinstance(name, str):
        return name
    if name in table:
        return table[name]
    if ":" in name:
        return import_object(name, kind)
    hint = nearest(name, table)
    raise ValueError(f"unknown {kind} {shown(name)}: {hint} (yours: module:name)")
