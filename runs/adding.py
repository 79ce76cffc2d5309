"""What a user adds to a comparison: agents, which are trained here, and policies, which are judged.

An agent is a name, `module:Class` or a class; all else is a policy that was trained elsewhere.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.agents.foreign import is_file
from ccenv.base.registry import import_object
from ccenv.base.values import as_settings
from ccenv.runs.api import name_of_code, with_names
from ccenv.runs.config.agent_settings import find_agent
from ccenv.runs.config.sweep import Cell, Sweep


@dataclass(frozen=True, eq=False)
class Addition:
    """One row to add to a sweep."""

    thing: Any
    """an agent by name or class, or what `ccenv.agents.foreign.open_policies` takes."""
    settings: dict[str, Any]
    """of the row."""
    name: str = ""
    """that the user gives; "" to call the row after the thing and its settings."""

    @property
    def label(self) -> str:
        """Of the row."""
        words = [] if self.name else [f"{key}={value}" for key, value in self.settings.items()]
        return " ".join([f"{self.name or name_of(self.thing)} (added)", *words])

    @property
    def is_agent(self) -> bool:
        """Whether it is trained here."""
        if not isinstance(self.thing, str) or is_file(self.thing):
            return isinstance(self.thing, type)
        is_path = ":" in self.thing
        return not is_path or isinstance(import_object(self.thing, "agent"), type)

    def cell(self) -> Cell:
        """The row of an agent."""
        name = name_of_code(self.thing, "an agent")
        find_agent(name)
        settings = with_names(self.settings)
        return Cell(self.label, name, settings, method=self.label, added=True)


def additions(add: Any) -> list[Addition]:
    """What is to be added: one, a list, or a dict with a name for each; see `compare`.

    >>> [one.label for one in additions(["dense", ("rloo", {"num_kept": 2})])]
    ['dense (added)', 'rloo (added) num_kept=2']
    """
    several = add if isinstance(add, list) else [add]
    pairs = add.items() if isinstance(add, Mapping) else [("", one) for one in several]
    by_label: dict[str, Addition] = {}
    for name, one in pairs:
        thing, settings = (*one, {})[:2] if isinstance(one, tuple) and one else (one, {})
        settings = as_settings(settings, "the settings of an added agent")
        added = Addition(thing, settings, str(name))
        if added.label in by_label:
            raise ValueError(
                f"expected different names of what is added, got {added.label!r} twice; in Python "
                "give each a name: add={'name': ...}"
            )
        by_label[added.label] = added
    return list(by_label.values())


def name_of(thing: Any) -> str:
    """What a row is called after, where the user gives no name.

    >>> name_of("models/ppo.zip"), name_of(["ppo-0.zip", "ppo-1.zip"]), name_of("mine:Agent")
    ('ppo', 'ppo', 'Agent')
    """
    if isinstance(thing, list) and thing:
        # Files of several seeds end in their numbers.
        number = r"(?<=.)[-_. ]*\d+$" if len(thing) > 1 else "$"
        return re.sub(number, "", name_of(thing[0]))
    if isinstance(thing, str | Path):
        return Path(thing).stem if is_file(thing) else str(thing).rpartition(":")[2]
    return str(getattr(thing, "__name__", type(thing).__name__))


def with_added(sweep: Sweep, added: Sequence[Addition]) -> Sweep:
    """A sweep with one row more for each agent."""
    cells = tuple(one.cell() for one in added)
    per_row = sweep.minutes / max(1, len(sweep.cells))
    minutes = sweep.minutes + per_row * len(cells)
    return dataclasses.replace(sweep, cells=sweep.cells + cells, minutes=minutes)
