"""Notes on stderr, and expected failures of a run as errors without a traceback."""

import dis
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from ccenv.base.values import in_a_line
from ccenv.runs.config.plan import Plan

if TYPE_CHECKING:
    from ccenv.agents.base import Agent


NOT_THE_USERS = {"ccenv", *sys.stdlib_module_names}
"""Packages whose frames say nothing to who wrote an agent."""


def say(text: str) -> None:
    """Prints a note on stderr: stdout holds results only."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Prints a warning about a run on stderr."""
    say(f"runs: {text}")


def users_frame(error: BaseException) -> traceback.StackSummary:
    """The innermost frame of an error in code that is no library's and not ccenv's, if any."""
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] not in NOT_THE_USERS
        and "-packages" not in frame.f_code.co_filename
    ]
    return traceback.StackSummary.extract(frames[-1:])


def in_users_code(error: BaseException) -> str:
    """The place of an error in the user's code, and its message; "" where it is none of theirs."""
    place = users_frame(error)
    if not place and not isinstance(error, SyntaxError):
        return ""
    return "".join([*place.format(), *traceback.format_exception_only(error)]).rstrip()


def error_place(error: BaseException) -> str:
    """Where an agent failed: the innermost frame of the user's code, else of ccenv's agents.

    Returns:
        ` (file, line n)`, a file of the package as it lies in a checkout; "" where it is neither.
    """
    if innermost := users_frame(error):
        return f" ({Path(innermost[0].filename).name}, line {innermost[0].lineno})"
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        package, *folders = frame.f_globals.get("__name__", "").split(".")
        if package == "ccenv" and folders[-2:-1] == ["agents"]:
            # As they lie in a checkout: `agents` is a folder of its own there.
            folder = folders[:-1] if folders[0] == "agents" else [package, *folders[:-1]]
            file = "/".join([*folder, Path(frame.f_code.co_filename).name])
            place = f" ({file}, line {line})"
    return place


def is_refusal(error: BaseException) -> bool:
    """Whether a `raise` made an error: Python's own and torch's say nothing of settings."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and (
        trace.tb_frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    )


class CannotStartError(ValueError):
    """Settings that cannot be carried out; nothing was written."""


class StoppedError(RuntimeError):
    """A run that its settings brought to a stop; its folder holds no result."""


@contextmanager
def told_as(
    kind: type[Exception],
    plan: Plan,
    messages: tuple[type[Exception], ...] = (),
    agent: "Agent | None" = None,
) -> Iterator[None]:
    """Turns an error of wrong settings into one that is reported without a traceback.

    A refusal in words stands as it is. An error in an agent's file is reported with its place, and
    the settings are named only where the agent was given some. In a run with the user's own code
    other exceptions may be bugs of that code: they pass unchanged, with their traceback. So do
    errors of the system, such as a full disk.
    """
    try:
        yield
    except Exception as error:
        place, of_system = error_place(error), isinstance(error, OSError | SafetensorError)
        if isinstance(error, messages) and (of_system or is_refusal(error) or not place):
            raise kind(in_a_line(error)) from error
        if of_system or plan.has_own_code:
            raise
        if agent is not None:
            check_learned_finite(plan, agent)
        told = f"{plan.agent} stopped by {type(error).__name__}: {in_a_line(error)}{place}"
        if not place or plan.chosen().keys() & plan.agent_settings.keys():
            told += "; check the settings that were given"
        raise kind(told) from error


def check_learned_finite(plan: Plan, agent: "Agent") -> None:
    """Refuses what was learned where it left the finite numbers: NaN compares as a choice does."""
    learned = {plan.agent: agent.parameters()} if agent.learns else {}
    if plan.environment["weights"] == "cotrain":
        learned["the network"] = agent.simulator.network.state_dict()
    for name, tensors in learned.items():
        if not all(bool(t.isfinite().all()) for t in tensors.values()):
            raise StoppedError(
                f"expected finite parameters of {name}, got NaN or infinity in training; check "
                "the settings that were given"
            )
