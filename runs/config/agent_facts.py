"""What an agent says of itself: a name -> settings, meanings, marks, read without importing it.

Agents import torch, which takes two seconds, and `--help` and `ccenv list` only print text. An
agent of ccenv is therefore read from its file, as Python would read it: classes of one base each,
settings whose defaults are literals or constants. Other agents are imported, also those of ccenv
whose file says more than that.
"""

import ast
import contextlib
import functools
import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ccenv
from ccenv.agents import AGENTS
from ccenv.base.registry import OWN_PACKAGE
from ccenv.runs.config.agent_settings import (
    add_meanings,
    agent_parameters,
    explained_of_class,
    find_agent,
)

PACKAGE = Path(ccenv.__file__).parent
SUMS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
"""What constants may be computed by."""
Names = dict[str, Any]
"""Names at the top of a file -> a class, the expression of a constant, or (module, name)."""


@dataclass(frozen=True)
class AgentFacts:
    """What help and lists tell of an agent."""

    settings: dict[str, Any]
    """its settings with their defaults."""
    takes_more: bool
    """whether it takes others, and hands them on."""
    meanings: dict[str, str]
    """of its settings."""
    learns: bool
    uses_labels: bool
    env_defaults: dict[str, Any]
    """its defaults for settings of the environment."""
    about: str
    """first line of its docstring."""


def facts_of(agent: str) -> AgentFacts:
    """What an agent says of itself.

    Args:
        agent: a name, or `module:Class`, which is imported.

    Raises:
        ValueError: if the name is unknown, or no agent's.

    >>> facts_of("reinforce").settings["hidden_units"]
    0
    """
    path = AGENTS.get(agent, "")
    if path.startswith(f"{OWN_PACKAGE}."):
        with contextlib.suppress(KeyError, ValueError):
            return facts_in_file(path)
    return facts_of_class(find_agent(agent))


def facts_of_class(agent_class: Any) -> AgentFacts:
    """The facts of a class that is imported."""
    settings, takes_more = agent_parameters(agent_class)
    return AgentFacts(
        settings=settings,
        takes_more=takes_more,
        meanings=explained_of_class(agent_class),
        learns=agent_class.learns,
        uses_labels=agent_class.uses_labels,
        env_defaults=agent_class.env_defaults,
        about=(inspect.getdoc(agent_class) or "").partition("\n")[0],
    )


def facts_in_file(path: str) -> AgentFacts:
    """The same of a class of ccenv, "module:Class", as it stands in its file.

    Raises:
        KeyError, ValueError: if a name or a default there is known only to who runs the file.
    """
    owners = classes_of(*path.split(":"))
    attributes: dict[str, Any] = {}
    meanings: dict[str, str] = {}
    init, about = None, ""
    for module, owner in owners:
        for name, node in names_in(owner.body).items():
            if name == "__init__":
                init = init or (module, node)
                add_meanings(meanings, ast.get_docstring(node))
            elif name in ("defaults", "env_defaults", "learns", "uses_labels"):
                attributes.setdefault(name, constant(module, node))
        about = about or (ast.get_docstring(owner) or "").partition("\n")[0]
    assert init is not None
    own, takes_more = arguments_in(*init)
    return AgentFacts(
        settings=own | attributes.get("defaults", {}),
        takes_more=takes_more,
        meanings=meanings,
        learns=attributes["learns"],
        uses_labels=attributes["uses_labels"],
        env_defaults=attributes["env_defaults"],
        about=about,
    )


def classes_of(module: str, name: str) -> list[tuple[str, ast.ClassDef]]:
    """A class and those above it, each with the module that it stands in."""
    module, owner = definition(module, name)
    above = [base for base in owner.bases if isinstance(base, ast.Name)]
    return [(module, owner), *(classes_of(module, above[0].id) if above else [])]


def definition(module: str, name: str) -> tuple[str, Any]:
    """What a name stands for: the module that defines it, and its class or expression there."""
    found = file_names(module)[name]
    return definition(*found) if isinstance(found, tuple) else (module, found)


@functools.cache
def file_names(module: str) -> Names:
    """Names at the top of a module's file."""
    place = PACKAGE.joinpath(*module.split(".")[1:])
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return names_in(ast.parse(file.read_text(encoding="utf-8")).body)


def names_in(body: list[ast.stmt]) -> Names:
    """Names that statements bind."""
    names: Names = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: (node.module, one.name) for one in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {one.id: node.value for one in targets if isinstance(one, ast.Name)}
    return names


def arguments_in(module: str, init: ast.FunctionDef) -> tuple[dict[str, Any], bool]:
    """Settings of a constructor with their defaults, and whether it takes others."""
    given = init.args
    places = [*given.posonlyargs, *given.args][1:]
    missing: list[ast.expr | None] = [None] * (len(places) - len(given.defaults))
    pairs = [
        *zip(places, [*missing, *given.defaults], strict=True),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ]
    settings = {
        one.arg: inspect.Parameter.empty if default is None else constant(module, default)
        for one, default in pairs
        if one.arg not in ("env", "seed")
    }
    return settings, given.kwarg is not None


def constant(module: str, node: ast.expr) -> Any:
    """The value of a literal, of names of constants, and of containers of both."""
    if isinstance(node, ast.Name):
        return constant(*definition(module, node.id))
    if isinstance(node, ast.Dict):
        keys = (ast.literal_eval(key) for key in node.keys if key is not None)
        return {key: constant(module, one) for key, one in zip(keys, node.values, strict=True)}
    if isinstance(node, ast.List | ast.Tuple):
        values = [constant(module, one) for one in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.BinOp) and type(node.op) in SUMS:
        return SUMS[type(node.op)](constant(module, node.left), constant(module, node.right))
    return ast.literal_eval(node)
