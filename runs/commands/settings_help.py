"""What `--help` tells of settings: an agent, the environment, a class with fields -> lines."""

import dataclasses
import shutil
import textwrap
from collections.abc import Collection, Iterator
from typing import Any

from ccenv.runs.config.agent_settings import (
    agent_parameters,
    explained_of_class,
    find_agent,
)
from ccenv.runs.config.values import compact
from ccenv.runs.store.identity import Program
from ccenv.simulator.settings import EXTENSIONS, EnvironmentSettings

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
