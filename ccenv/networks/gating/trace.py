"""A model's code as a list of instructions: (instructions, values of names) -> values of names."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ccenv.networks.gating.traced_values import leaves_of, mapped

METHODS_OF_SHAPE = frozenset(
    [
        *("size", "dim", "ndimension", "numel", "nelement", "element_size", "stride", "type"),
        *("is_floating_point", "is_complex", "is_contiguous", "get_device", "is_signed"),
    ]
)
"""Methods of a tensor that give something else than a tensor and do not look at its numbers."""


class Ref(str):
    """Name of a value."""


@dataclass(frozen=True)
class Instruction:
    """One operation: what it is called on, and the name of what it gives."""

    name: str
    kind: str
    """call_module, call_function, call_method or get_attr."""
    target: Any
    """path, function or name of a method."""
    args: tuple[Any, ...] = ()
    """values, with a `Ref` where another instruction gives it."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def run(self, part: Callable[[str], Any], values: Mapping[str, Any]) -> Any:
        """Executes it.

        Args:
            part: path -> module, parameter or buffer.
            values: of all names that it needs.
        """
        if self.kind == "get_attr":
            return part(self.target)
        args = filled(self.args, values)
        kwargs = filled(self.kwargs, values) if self.kwargs else {}
        if self.kind == "call_method":
            return getattr(args[0], self.target)(*args[1:], **kwargs)
        function = part(self.target) if self.kind == "call_module" else self.target
        return function(*args, **kwargs)

    def needs(self) -> list[str]:
        """Names of values that it uses."""
        return [leaf for leaf in leaves_of((self.args, self.kwargs)) if isinstance(leaf, Ref)]


def filled(tree: Any, values: Mapping[str, Any]) -> Any:
    """Puts values where their names are."""
    return mapped(lambda leaf: values[leaf] if isinstance(leaf, Ref) else leaf, tree)


@dataclass(frozen=True)
class Call:
    """A call of a module as one instruction, and the instructions it consists of."""

    whole: Instruction
    parts: frozenset[str]
    """their names."""


@dataclass(frozen=True)
class Trace:
    """What a module does, in order, and what it gave for an example."""

    start: str
    """name of the inputs."""
    instructions: list[Instruction]
    answer: str
    """name of the output."""
    values: dict[str, tuple[Any, Any]]
    """name -> what it was for one row and for two."""
    changed: dict[str, set[str]]
    """instruction -> values that it changed in place, views of them included."""
    calls: list["Call"]
    """of modules, those that were looked into included."""
    constants: dict[str, Tensor]
    """tensors that the code makes itself, by the path under which instructions ask for them."""


def answer_here(x: Tensor, path: str) -> Tensor:
    """Marks where an exit is."""
    return x


def part_of(root: nn.Module, path: str) -> Any:
    """Module, parameter or buffer of a path."""
    found: Any = root
    for name in path.split("."):
        found = getattr(found, name)
    return found


def without_unused(instructions: list[Instruction], answer: str) -> list[Instruction]:
    """Drops looks at shapes and parts of tuples that nothing uses."""
    needed, kept = {answer}, []
    for instruction in reversed(instructions):
        is_look = (
            instruction.kind == "get_attr"
            or instruction.target in (operator.getitem, getattr)
            or (instruction.kind == "call_method" and instruction.target in METHODS_OF_SHAPE)
        )
        if instruction.name in needed or not is_look:
            needed.update(instruction.needs())
            kept.append(instruction)
    return kept[::-1]
