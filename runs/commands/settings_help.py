"""What `ccenv train --help` tells below its options: an agent -> lines on every setting."""

import dataclasses
import shutil
import textwrap
from collections.abc import Iterator

from ccenv.runs.config.agent_settings import (
    agent_parameters,
    explained,
    explained_of_class,
    find_agent,
)
from ccenv.runs.store.identity import Program
from ccenv.runs.tensorboard.tracking import compact
from ccenv.simulator.settings import setting_defaults
from ccenv.simulator.simulator import Simulator

EXAMPLES = """examples:
  ccenv train reinforce
  ccenv train reinforce reward_kwargs.cost_weight=2 images=50000 --seeds 3
  ccenv train sb3_ppo dataset=mnist reward=nll_minus_cost weights=cotrain
  ccenv train my_module:MyAgent learning_rate=0.1
ccenv train AGENT --help tells an agent's settings too; ccenv list tells all names"""


def in_lines(name: str, value: str, meaning: str) -> str:
    """A setting with its default and its meaning, as wide as the terminal."""
    width = max(40, shutil.get_terminal_size().columns - 2)
    text = f"  {name}={value}  {meaning}".rstrip()
    return textwrap.fill(text, width, subsequent_indent=" " * 6, break_on_hyphens=False)


def settings_help(agent: str | None) -> Iterator[str]:
    """Examples, and every setting with its default and its meaning."""
    yield from EXAMPLES.splitlines()
    yield "settings of the run:"
    for option in dataclasses.fields(Program):
        yield in_lines(option.name, compact(option.default), option.metadata["help"])
    yield "settings of the environment (see ccenv.simulator.simulator.Simulator):"
    meaning = explained(Simulator.__init__)
    for name, value in setting_defaults().items():
        yield in_lines(name, compact(value), meaning.get(name, ""))
    yield "  reward_kwargs.cost_weight=0.5 and the like (ccenv list rewards);"
    yield "  network_kwargs.depth=20 and the like (ccenv list networks);"
    yield "  context.cost_weight=[0.05,5] or context.budget=[0.1,0.5] drawn anew for each image;"
    yield "  concurrent=inactive, unsafe or policy: updates land between gates (weights=cotrain);"
    yield "  oblivious=all, or oblivious=3 blocks in slots: one trace for all inputs;"
    yield "  weights_kwargs.schedule_updates=run ends a cosine schedule with the run"
    if agent is None:
        return
    yield f"settings of {agent}:"
    found = find_agent(agent)
    own, takes_more = agent_parameters(found)
    meaning = explained_of_class(found)
    for name, value in own.items():
        yield in_lines(name, repr(value), meaning.get(name, ""))
    if takes_more:
        yield f"  others are {meaning.get('settings', 'handed on')}"
