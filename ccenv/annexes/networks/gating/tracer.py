"""What a module does for any number of rows: (module, one input, inner modules) -> `Trace`.

It is recorded for two rows and for three: numbers that differ are multiples of the number of rows.
Then it is run again for one row and for two, which shows where the rows of each value are.
"""

import dataclasses
import functools
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.annexes.networks.gating.answers import START, WholeAnswer
from ccenv.annexes.networks.gating.recorder import LIBRARY, Recorder, UnseenError, plain
from ccenv.annexes.networks.gating.trace import (
    BY_HAND,
    Call,
    Instruction,
    Ref,
    Trace,
    layout_of,
    mapped,
    part_of,
    rows_times,
    without_unused,
)

ROWS = (2, 3)
"""Rows for which it is recorded. Code may treat one row in another way, as it need not repeat it:
whether it answers the same is compared."""


class CannotFollowError(ValueError):
    """The code of a module decides by what only a run can tell."""

    def __init__(self, why: str, path: str, where: str = "its code") -> None:
        """Takes the reason, the path of the module and the place in its code."""
        instead = f"gate {path!r} as a whole" if path else "gate other children"
        super().__init__(
            f"cannot follow the forward of {path or 'the model'}, which lies around a gated child: "
            f"{where} {why}; {instead}, or {BY_HAND}"
        )
        self.path = path


def trace(
    model: nn.Module,
    example: Tensor,
    opened: Collection[str],
    exits: Collection[str] = (),
    ask: Any = None,
) -> Trace:
    """Follows a module's forward, and those of opened children, on one input [1, ...].

    Behind the children of `exits` it puts `answer_here`. `ask` says how the model is asked; None:
    with whole inputs.

    Raises:
        CannotFollowError: if code decides by numbers in tensors or by the number of rows.
    """
    ask = WholeAnswer() if ask is None else ask
    one = example.detach().clone()

    def recorded(rows: int) -> Recorder:
        return record_calls(model, ask, ask.inputs(one, rows), opened, exits)

    with torch.inference_mode(False), torch.no_grad():
        first, second = map(recorded, ROWS)
        nodes, calls = aligned_values(first, second)
        values, changed = replayed(
            nodes, functools.partial(found_part, model, first), [ask.inputs(one, n) for n in (1, 2)]
        )
        if not alike(values[first.answer][0], ask(model, ask.inputs(one, 1))):
            # Code that draws numbers does the same, and answers otherwise.
            aligned_values(recorded(1), first)
    layouts = {name: layout_of(*both) for name, both in values.items()}
    nodes = without_unused(nodes, first.answer)
    return Trace(START, nodes, first.answer, values, layouts, changed, calls, first.constants)


def record_calls(
    model: nn.Module,
    ask: Any,
    inputs: Mapping[str, Any],
    opened: Collection[str],
    exits: Collection[str],
) -> Recorder:
    """Runs a model, and writes down what it does."""
    inside = {"model", *(f"model.{path}" for path in opened)}
    recorder = Recorder(model, inside, {f"model.{path}" for path in exits})
    try:
        recorder.record(model, ask, inputs)
    except Exception as error:
        why = str(error) if isinstance(error, UnseenError) else call_in_short(error)
        where = "its code"
        for frame in traceback.extract_tb(error.__traceback__):
            if not frame.filename.startswith(LIBRARY):
                where = f"{frame.name} ({Path(frame.filename).name}, line {frame.lineno})"
        raise CannotFollowError(why, recorder.path_now(), where) from error
    return recorder


def call_in_short(error: Exception) -> str:
    """What an error of the model's code says."""
    return f"gave {type(error).__name__}: {error}"


def aligned_values(first: Recorder, second: Recorder) -> tuple[list[Instruction], list[Call]]:
    """What runs for any number of rows: instructions of a run, their numbers as multiples.

    Returns:
        The instructions, and the calls of modules.

    Raises:
        CannotFollowError: if the runs differ otherwise.
    """
    rows = len(first.alive[0]), len(second.alive[0])
    each: dict[int, Ref] = {}

    def leaf(a: Any, b: Any) -> Any:
        if type(a) is int and type(b) is int and a != b:
            times, rest = divmod(a, rows[0])
            if rest or b != times * rows[1]:
                raise UnseenError("is no multiple of the number of rows")
            return each.setdefault(times, Ref(f"rows_times_{times}"))
        if type(a) is not type(b) or not (a is b or bool(a == b)):
            raise UnseenError("is another value for other rows")
        return a

    def same(node: Instruction, other: Instruction) -> Instruction:
        if (node.kind, node.target) != (other.kind, other.target):
            raise UnseenError("does something else for other rows")
        if node.kind == "get_attr" and node.target in first.constants:
            check_constant(first.constants[node.target], second.constants[node.target])
        arguments = mapped(leaf, (node.args, dict(node.kwargs)), (other.args, dict(other.kwargs)))
        return dataclasses.replace(node, args=arguments[0], kwargs=arguments[1])

    nodes = []
    for number in range(max(len(first.instructions), len(second.instructions))):
        try:
            nodes.append(same(first.instructions[number], second.instructions[number]))
        except (UnseenError, IndexError, KeyError, ValueError, TypeError, RuntimeError) as error:
            longer = max(first, second, key=lambda one: len(one.instructions))
            path, where = longer.places[number]
            raise CannotFollowError(
                "decides by how many rows there are", plain(path), where
            ) from error
    # What a call is given is given to what is in it, or to nothing.
    calls = [
        dataclasses.replace(one, whole=(same(one.whole[0], other.whole[0]), *one.whole[1:]))
        for one, other in zip(first.calls, second.calls, strict=True)
    ]
    head = [
        Instruction(name, "call_function", rows_times, (Ref(START), times))
        for times, name in each.items()
    ]
    return head + nodes, calls


def check_constant(one: Tensor, other: Tensor) -> None:
    """Refuses a tensor that is another one in each run: torch does not show where it is made."""
    if one is not other and not alike(one, other):
        raise UnseenError("reads a tensor that no operation of torch has made")


def alike(one: Any, other: Any) -> bool:
    """Whether two tensors have the same shape and numbers, to rounding."""
    return one.shape == other.shape and torch.allclose(
        one, other, rtol=1e-4, atol=1e-5, equal_nan=True
    )


def found_part(model: nn.Module, seen: Recorder, path: str) -> Any:
    """Module, parameter, buffer or constant of a path."""
    if path in seen.constants:
        return seen.constants[path]
    return part_of(model, plain(path)) if plain(path) else model


def replayed(
    nodes: Sequence[Instruction], part: Callable[[str], Any], inputs: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, tuple[Any, Any]], dict[str, set[str]]]:
    """Runs instructions for one row and for two.

    Returns:
        name -> what it was for both, at the end; and instruction -> values that it changed.
    """
    one, two = (dict(named) for named in inputs)
    versions = {name: times_changed(value) for name, value in two.items()}
    changed: dict[str, set[str]] = {}
    for node in nodes:
        for values in (one, two):
            values[node.name] = node.run(part, values)
        changed[node.name] = {k for k, seen in versions.items() if times_changed(two[k]) != seen}
        for name in (node.name, *changed[node.name]):
            versions[name] = times_changed(two[name])
    return {name: (one[name], two[name]) for name in one}, changed


def times_changed(value: Any) -> int:
    """How often a tensor was changed in place, by any of its views."""
    return value._version if isinstance(value, Tensor) else 0
