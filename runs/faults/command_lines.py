"""Odd command lines: words -> how `ccenv` takes them up to the point where work would begin."""

import contextlib
import functools
import importlib
import io
import os
import re
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

from ccenv.agents import AGENTS
from ccenv.rewards import REWARDS
from ccenv.runs.faults.odd import ODD_WORDS, strategies
from ccenv.runs.faults.processes import PROGRAM
from ccenv.runs.plan.agent_settings import agent_parameters, find_agent
from ccenv.runs.store.program import Program
from ccenv.simulator.settings import setting_defaults

WORK = {
    "train": ("ccenv.runs.train:run",),
    "compare": ("ccenv.runs.compare:gather",),
    "eval": ("ccenv.runs.eval:ask",),
    "plot": ("ccenv.runs.plot:publish",),
    "show": ("ccenv.runs.view:view_of",),
    "search": ("ccenv.runs.search:to_do",),
    "list": (),
    "validate": ("ccenv.runs.validate:validate",),
    "leaks": ("ccenv.runs.leaks:leaks_of_run",),
    "retrieval": ("ccenv.runs.retrieval:measured",),
    "benchmark": ("ccenv.runs.benchmark:measure",),
    "gates": ("ccenv.runs.gates:gates",),
    "table": ("ccenv.runs.table:build_table", "ccenv.runs.table:judge_entries"),
    "data": ("ccenv.data.__main__:load_split", "ccenv.data.__main__:download"),
    "write": ("ccenv.runs.write:paragraph",),
    "export": ("ccenv.runs.export:written",),
    "serve": ("ccenv.runs.serve:ThreadingHTTPServer",),
    "tables": (),
}
"""Command -> where its work begins; `docs` and `weights` write into a checkout and are left out."""
STATUSES = (0, 1, 2)
SAMPLES = [
    "run",
    "run/config.json",
    "run/checkpoint/classifier.safetensors",
    "odd.json",
    "odd.toml",
]
PLACES = [*SAMPLES, "table.safetensors", "policy.safetensors", "no/such", ".", "images.npz"]
ENOUGH = ["quickstart", "digits", "synthetic", "test", "mlp", "build", "pack", "judge", "sampled"]


class WorkBeginsError(BaseException):
    """Raised in place of work: whatever was given has been accepted."""


@dataclass(frozen=True)
class Crash:
    """A command line or a constructor that ended without a name for what is wrong."""

    given: Any
    """what was given."""
    error: str
    """the exception, or the status."""
    where: str
    """file and line that raised it; one crash a place is kept."""


def crash_of(given: Any, error: BaseException) -> Crash:
    """A crash by its exception."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "ccenv" in frame.filename or "/runs/" in frame.filename]
    last = (ours or frames)[-1]
    where = f"{os.path.basename(last.filename)}:{last.lineno}"
    return Crash(given, f"{type(error).__name__}: {error}"[:200], where)


@contextlib.contextmanager
def without_work(command: str) -> Iterator[None]:
    """Replaces the work of a program by an exception."""
    with contextlib.ExitStack() as stack:
        for place in WORK[command]:
            module, name = place.split(":")
            importlib.import_module(module)
            stack.enter_context(mock.patch(f"{module}.{name}", side_effect=WorkBeginsError))
        yield


def program() -> Any:
    """The console script's module, which stands above this one: found by its name."""
    return importlib.import_module(PROGRAM)


@contextlib.contextmanager
def silenced(said: io.StringIO) -> Iterator[None]:
    """Prints nothing, and keeps what goes to stderr."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        yield


def taken(words: Sequence[str]) -> Crash | None:
    """Gives words to `ccenv`, in this process; None where they were accepted or refused by name."""
    said = io.StringIO()
    command = words[0]
    try:
        with without_work(command), silenced(said):
            status = program().main(list(words))
    except WorkBeginsError:
        return None
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except Exception as error:
        return crash_of(list(words), error)
    is_named = status in STATUSES and "Traceback" not in said.getvalue()
    is_told = status != 2 or bool(said.getvalue().strip())
    return None if is_named and is_told else Crash(list(words), f"status {status}", command)


@functools.cache
def options_of(command: str) -> tuple[str, ...]:
    """Names of a program's options, from its help."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        program().main([command, "--help"])
    return tuple(sorted(set(re.findall(r"--[a-z][a-z-]+", text.getvalue())) - {"--help"}))


@functools.cache
def setting_names() -> tuple[str, ...]:
    """Names of settings of the program, the environment and some agents."""
    own = [n for agent in ("reinforce", "rloo", "sb3_ppo", "condnet", "gumbel") for n in
           agent_parameters(find_agent(agent))[0]]  # fmt: skip
    known = {*own, *setting_defaults(), *Program.__dataclass_fields__, "context", "x"}
    return tuple(sorted({*known, "reward_kwargs.cost_weight", "network_kwargs.depth"}))


def lines() -> Any:
    """Command lines: a strategy of lists of words, the command first."""
    st = strategies()
    odd = st.sampled_from(ODD_WORDS) | st.text(max_size=8)
    pair = st.tuples(st.sampled_from(setting_names()), odd).map("=".join)
    names = st.sampled_from([*AGENTS, *REWARDS, *ENOUGH])
    place = st.sampled_from(PLACES)

    def of(command: str) -> Any:
        option = st.sampled_from(options_of(command) or ("--json",))
        value = odd | names | place
        with_value = st.tuples(option, value).map(list) | option.map(lambda one: [one])
        plain = (pair | names | place | odd).map(lambda one: [one])
        words = st.lists(plain | with_value, max_size=5)
        return words.map(lambda found: [command, *(word for part in found for word in part)])

    return st.sampled_from(list(WORK)).flatmap(of)
