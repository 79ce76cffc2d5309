"""Settings of agents: an agent's name -> the class, its settings, what `--help` says of each."""

import ast
import dataclasses
import inspect
import itertools
import re
import shutil
import textwrap
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from ccenv.agents import AGENTS
from ccenv.base.annotations import annotations_of, has_mark
from ccenv.base.registry import resolve
from ccenv.base.values import shown
from ccenv.runs.config.values import compact
from ccenv.runs.store.identity import Program
from ccenv.simulator.settings import EXTENSIONS, EnvironmentSettings

if TYPE_CHECKING:
    from ccenv.agents.base import Agent


def find_agent(agent: str) -> "type[Agent]":
    """The class that a name stands for."""
    from ccenv.agents.base import Agent

    kind = resolve(agent, AGENTS, "agent")
    if not (isinstance(kind, type) and issubclass(kind, Agent)):
        raise ValueError(
            f"expected agent {agent!r} to be a subclass of ccenv.agents.base.Agent, "
            f"got {shown(kind)}"
        )
    if has_mark(kind.act, "asks_distribution") and has_mark(kind.distribution, "is_missing"):
        raise ValueError(f"expected agent {agent!r} to define act or distribution, got neither")
    return kind


def record_of(agent_class: Any) -> Any:
    """The record whose fields are an agent's settings, None where its constructor names them."""
    return getattr(agent_class, "settings_class", None)


def agent_parameters(agent_class: Any) -> tuple[dict[str, Any], bool]:
    """Settings of an agent's constructor with their defaults, and whether it takes others too.

    An agent that hands settings on to a library lists those it prefers as `defaults`.
    """
    parameters = list(inspect.signature(agent_class).parameters.values())
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    settings = {
        p.name: p.default for p in parameters if p.kind in named and p.name not in ("env", "seed")
    }
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if open_ended and (record := record_of(agent_class)):
        fields = {field.name: field for field in dataclasses.fields(record) if field.init}
        # An agent's own settings, then those that it shares.
        names = [n for owner in record.__mro__ for n in vars(owner).get("__annotations__", ())]
        settings |= {name: fields[name].default for name in names if name in fields}
        open_ended = False
    return settings | dict(getattr(agent_class, "defaults", {})), open_ended


def known_settings(agent_class: Any) -> list[str] | None:
    """Names of an agent's settings with those of its library's algorithm; None if it takes any."""
    parameters, open_ended = agent_parameters(agent_class)
    if not open_ended:
        return list(parameters)
    if not hasattr(agent_class, "algorithm"):
        return None
    return [*parameters, *inspect.signature(algorithm_of(agent_class)).parameters]


def algorithm_of(agent_class: Any) -> Any:
    """The class of a library that an agent lets learn."""
    try:
        return agent_class.algorithm()
    except (ImportError, TypeError) as error:
        raise ValueError(str(error)) from error


def hints_of_agent(agent_class: Any) -> dict[str, Any]:
    """Annotations of an agent's settings, and of those that it hands on to a library."""
    hints = annotations_of(agent_class.__init__)
    for owner in reversed(getattr(record_of(agent_class), "__mro__", ())):
        hints |= annotations_of(owner)
    if not hasattr(agent_class, "algorithm"):
        return hints
    return annotations_of(algorithm_of(agent_class).__init__) | hints


ARGUMENT = re.compile(r" {4}\*{0,2}(\w+): (.*)")
ELSEWHERE = "see `"
"""A text that begins so sends the reader to the class above."""


def explained(function: Any) -> dict[str, str]:
    """What a docstring says of each argument, its lines joined.

    >>> def train(rate):
    ...     '''Trains.
    ...
    ...     Args:
    ...         rate: of learning.
    ...     '''
    >>> explained(train)
    {'rate': 'of learning.'}
    """
    lines = itertools.dropwhile(
        lambda line: line != "Args:", (inspect.getdoc(function) or "").splitlines()
    )
    texts: dict[str, str] = {}
    name = ""
    for line in itertools.islice(lines, 1, None):
        if line and not line.startswith(" "):
            break
        if match := ARGUMENT.fullmatch(line):
            name, texts[match[1]] = match[1], match[2]
        elif line:
            texts[name] = f"{texts[name]} {line.strip()}"
    return texts


def explained_fields(record: type) -> dict[str, str]:
    """The text below each field of a dataclass, from its source; nothing where there is none."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(record)))
    except (OSError, TypeError):
        return {}
    [body] = [node.body for node in tree.body if isinstance(node, ast.ClassDef)]
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def explained_of_class(agent_class: type) -> dict[str, str]:
    """What the constructors of a class and of those above it say of each argument.

    Fields of a record of settings are arguments too.
    """
    texts: dict[str, str] = {}
    for owner in agent_class.__mro__:
        for name, text in explained(vars(owner).get("__init__")).items():
            if texts.get(name, ELSEWHERE).startswith(ELSEWHERE):
                texts[name] = text
    for owner in getattr(record_of(agent_class), "__mro__", (object,))[:-1]:
        texts = explained_fields(owner) | texts
    return texts


EXAMPLES = """examples:
  ccenv train reinforce
  ccenv train reinforce reward_kwargs.cost_weight=2 images=50000 --seeds 3
  ccenv train sb3_ppo dataset=mnist reward=nll_minus_cost weights=cotrain
  ccenv train my_module:MyAgent learning_rate=0.1
ccenv train AGENT --help also lists the agent's settings; ccenv list shows all names"""
BEYOND_DEFAULTS = """\
  reward_kwargs.cost_weight=0.5 and the like (ccenv list rewards);
  network_kwargs.depth=20 and the like (ccenv list networks);
  context.cost_weight=[0.05,5] or context.budget=[0.1,0.5] drawn for each image;
  concurrent=inactive, unsafe or policy: updates land between gates (weights=cotrain);
  oblivious=all, or oblivious=3 blocks in slots: one trace for all inputs;
  weights_kwargs.schedule_updates=run ends a cosine schedule with the run"""


def in_lines(name: str, value: str, meaning: str) -> str:
    """A setting with its default and its meaning, as wide as the terminal."""
    width = max(40, shutil.get_terminal_size().columns - 2)
    text = f"  {name}={value}  {meaning}".rstrip()
    return textwrap.fill(text, width, subsequent_indent=" " * 6, break_on_hyphens=False)


def fields_help(kind: Any, left_out: Collection[str] = ()) -> Iterator[str]:
    """The fields of a dataclass whose metadata say what they mean."""
    for field in dataclasses.fields(kind):
        if field.name not in left_out:
            yield in_lines(field.name, compact(field.default), field.metadata["help"])


def settings_help(agent: str | None) -> Iterator[str]:
    """Examples, and every setting of `ccenv train` with its default and its meaning."""
    yield EXAMPLES
    yield "settings of the run:"
    yield from fields_help(Program)
    yield "settings of the environment (see ccenv.simulator.settings.EnvironmentSettings):"
    yield from fields_help(EnvironmentSettings, EXTENSIONS)
    yield BEYOND_DEFAULTS
    if agent is None:
        return
    yield f"settings of {agent}:"
    agent_class = find_agent(agent)
    defaults, takes_more = agent_parameters(agent_class)
    meaning = explained_of_class(agent_class)
    for name, value in defaults.items():
        yield in_lines(name, repr(value), meaning.get(name, ""))
    if takes_more:
        yield f"  others are {meaning.get('settings', 'handed on')}"
