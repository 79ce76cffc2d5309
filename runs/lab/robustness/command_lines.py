"""Odd command lines: words -> how `ccenv` takes them up to the point where work would begin."""

import contextlib
import functools
import importlib
import inspect
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
from ccenv.runs.commands import cli
from ccenv.runs.commands.cli import COMMANDS
from ccenv.runs.config.agent_settings import agent_parameters, find_agent
from ccenv.runs.config.command import setting_words
from ccenv.runs.lab.robustness.odd import ODD_WORDS, strategies
from ccenv.runs.lab.robustness.tiny import SETTINGS
from ccenv.runs.mask_tables.build import build_table
from ccenv.runs.store.identity import Program
from ccenv.simulator.settings import setting_defaults

LEARNED = "ccenv.simulator.simulator:frozen_weights"
"""Where a frozen network begins to learn."""
WORK: dict[str, tuple[str, ...]] = {
    "train": ("ccenv.runs.engine.run:learn", LEARNED),
    "compare": ("ccenv.runs.comparing:run_missing", "ccenv.runs.report.publish:publish"),
    "plot": ("ccenv.runs.report.publish:publish",),
    "suite": ("ccenv.runs.suite.play:play_task", "ccenv.runs.suite.reported:write_page"),
    "benchmark": ("ccenv.runs.commands.benchmark:timed",),
    "table": (
        "ccenv.runs.mask_tables.build:build",
        LEARNED,
    ),
    "data": ("ccenv.runs.commands.data:download",),
    "generate": ("ccenv.annexes.deploy.generate:write",),
    "export": ("ccenv.runs.engine.onnx_export:written",),
}
"""Command -> where its work begins; of other commands the work is small, and is done."""
SHORT = [
    f"{key}={word}"
    for name, value in (SETTINGS | {"images": 128, "eval_every": 64}).items()
    for key, word in setting_words(name, value)
]
SOUND: dict[str, list[list[str]]] = {
    "train": [["reinforce", *SHORT], ["--config", "run/config.json"]],
    "compare": [["ccenv.runs.lab.robustness.tiny:TINY"]],
    "eval": [["run"]],
    "plot": [["run"]],
    "inspect": [["run"]],
    "list": [["rewards"], []],
    "validate": [["run"]],
    "benchmark": [[]],
    "table": [
        ["build", "mlp", "synthetic", "num_blocks=[4]"],
        ["show", "table.safetensors"],
        ["pack", "table.safetensors", "--out", "small.safetensors"],
    ],
    "suite": [["rloo", "--task", "basic-4"]],
    "data": [["mnist", "--download"]],
    "generate": [["run"]],
    "export": [["run", "--onnx"]],
}
"""Command -> words that it accepts where `samples` lie; odd ones are put behind them, or alone."""
CANARIES = (
    "ccenv.agents.base:Agent.learn",
    "torch:Tensor.backward",
    "socket:create_server",
    "multiprocessing.process:BaseProcess.start",
    "urllib.request:urlopen",
)
"""What no command line may reach: training, a server, a pool, a download."""
STATUSES = (0, 1, 2)
TAKEN, REFUSED = "taken", "refused"
"""What may come of something odd; the rest is a `Crash`."""
SAMPLES = [
    "run",
    "run/config.json",
    "run/checkpoint/classifier.safetensors",
    "odd-run",
    "odd.json",
    "odd.toml",
]
PLACES = [*SAMPLES, "table.safetensors", "deep.json", "no/such", ".", "images.npz"]
ENOUGH = ["quickstart", "digits", "synthetic", "test", "mlp", "build", "pack", "sampled"]


class WorkBeginsError(BaseException):
    """Raised in place of work: whatever was given has been accepted."""


class RealWorkError(BaseException):
    """Raised in place of what no command line may reach: a name in `WORK` is out of date."""


@dataclass(frozen=True)
class Crash:
    """A command line or a call that ended without a name for what is wrong."""

    arguments: Any
    """what was given."""
    error: str
    """the exception, or the status."""
    where: str
    """file and line that raised it; one crash a place is kept."""


def crash_of(words: Any, error: BaseException) -> Crash:
    """A crash by its exception."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "ccenv" in frame.filename or "/runs/" in frame.filename]
    last = (ours or frames)[-1]
    where = f"{os.path.basename(last.filename)}:{last.lineno}"
    return Crash(words, f"{type(error).__name__}: {error}"[:200], where)


@contextlib.contextmanager
def without_work(command: str) -> Iterator[None]:
    """Replaces the work of a program by an exception, and real work by another."""
    with contextlib.ExitStack() as stack:
        for places, error in ((CANARIES, RealWorkError), (WORK.get(command, ()), WorkBeginsError)):
            for place in places:
                stack.enter_context(replaced(place, error(place)))
        yield


def replaced(place: str, error: BaseException) -> Any:
    """A patch of `module:name` or `module:Class.name`, which raises where it is called."""
    module, name = place.split(":")
    *owners, last = name.split(".")
    owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))

    def raises(*_: Any, **__: Any) -> Any:
        raise error

    # Looked at first, for the patch itself looks only where it is entered.
    getattr(owner, last)
    return mock.patch.object(owner, last, raises)


@contextlib.contextmanager
def silenced(stderr: io.StringIO) -> Iterator[None]:
    """Prints nothing, and keeps what goes to stderr."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stderr):
        yield


def came_of(words: Sequence[str]) -> str | Crash:
    """Gives words to `ccenv`, in this process: `TAKEN`, `REFUSED` by name, or a crash."""
    stderr = io.StringIO()
    command = words[0]
    with without_work(command):
        try:
            with silenced(stderr):
                status = cli.main(list(words))
        except WorkBeginsError:
            return TAKEN
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
        except (Exception, RealWorkError) as error:
            return crash_of(list(words), error)
    is_named = status in STATUSES and "Traceback" not in stderr.getvalue()
    is_told = status != 2 or bool(stderr.getvalue().strip())
    if not (is_named and is_told):
        return Crash(list(words), f"status {status}: {stderr.getvalue()[-100:]}", command)
    return REFUSED if status == 2 else TAKEN


@functools.cache
def options_of(command: str) -> tuple[str, ...]:
    """Names of a program's options, from its help and that of its subcommands."""
    text = io.StringIO()
    for first in sorted({"", *(line[0] for line in SOUND.get(command, []) if line)}):
        with (
            contextlib.redirect_stdout(text),
            contextlib.redirect_stderr(text),
            contextlib.suppress(SystemExit),
        ):
            cli.main([command, *filter(None, [first]), "--help"])
    return tuple(sorted(set(re.findall(r"--[a-z][a-z-]+", text.getvalue())) - {"--help"}))


@functools.cache
def setting_names() -> tuple[str, ...]:
    """Names of settings of the programs, the environment and some agents."""
    agent_names = [n for agent in ("reinforce", "rloo", "sb3_ppo", "condnet", "gumbel") for n in
           agent_parameters(find_agent(agent))[0]]  # fmt: skip
    names = {*agent_names, *setting_defaults(), *Program.__dataclass_fields__, "context", "x"}
    return tuple(sorted({*names, "reward_kwargs.cost_weight", "network_kwargs.depth"}))


@functools.cache
def own_names(command: str) -> tuple[str, ...]:
    """Names that a program gives its functions itself, and that a setting must not replace."""
    options = [option.removeprefix("--").replace("-", "_") for option in options_of(command)]
    called = inspect.signature(build_table).parameters if command == "table" else ()
    return tuple(sorted({*options, *called, "progress"}))


def lines() -> Any:
    """Command lines: a strategy of lists of words, the command first."""
    st = strategies()
    odd = st.sampled_from(ODD_WORDS) | st.text(max_size=8)
    names = st.sampled_from([*AGENTS, *REWARDS, *ENOUGH])
    place = st.sampled_from(PLACES)

    def of(command: str) -> Any:
        option = st.sampled_from(options_of(command) or ("--json",))
        setting = st.sampled_from(setting_names()) | st.sampled_from(own_names(command))
        pair = st.tuples(setting, odd).map("=".join)
        value = odd | names | place
        with_value = st.tuples(option, value).map(list) | option.map(lambda one: [one])
        plain = (pair | names | place | odd).map(lambda one: [one])
        odd_words = st.lists(plain | with_value, max_size=5).map(
            lambda parts: [word for part in parts for word in part]
        )
        before = st.just([]) | st.sampled_from(SOUND.get(command, [[]]))
        return st.tuples(before, odd_words).map(lambda parts: [command, *parts[0], *parts[1]])

    return st.sampled_from(list(COMMANDS)).flatmap(of)
