"""Writes down every call that a model makes while it runs: (module, inputs) -> instructions.

It runs on tensors, so that any Python around gated children is followed: keyword arguments, records
of several outputs, decisions by sizes. Only modules that are asked for are looked into; each other
is one instruction, whatever its code does. What is decided by numbers in tensors is refused.
"""

import operator
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ccenv.annexes.networks.gating.answers import START
from ccenv.annexes.networks.gating.trace import (
    Call,
    Following,
    Instruction,
    Ref,
    answer_here,
    leaves_of,
    mapped,
)
from ccenv.base.values import shown
from ccenv.networks.core.count_macs import names

SHAPES = names(
    """
    size dim ndimension numel nelement element_size stride type is_floating_point is_complex
    is_contiguous get_device is_signed storage_offset is_tensor is_same_size is_inference
    result_type
    data_ptr __get__ __len__ __hash__
    """
)
"""Functions and methods that do not look at a tensor's numbers."""
WARNS = "warn_"
"""What functions of models are called that decide no more than whether to warn, as of padding."""
LIBRARY = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
"""Where code is that is not the model's."""


Ask = Callable[[nn.Module, Mapping[str, Any]], Any]
"""(model, inputs by name) -> what it answers."""


class UnseenError(Exception):
    """Why a call cannot be written down."""


class Recorder(TorchFunctionMode):
    """Runs a model and writes down every call, of functions and of modules."""

    def __init__(self, model: nn.Module, opened: Collection[str], exits: Collection[str]) -> None:
        """Takes paths of modules to look into; the model's own is "model"."""
        super().__init__()
        self.opened, self.exits = opened, exits
        self.modules: dict[int, str] = {}
        self.weights: dict[int, str] = {}
        for path, module in model.named_modules(prefix="model"):
            self.modules[id(module)] = path
            for named_weights in (module.named_parameters, module.named_buffers):
                for name, weight in named_weights(path, recurse=False):
                    self.weights.setdefault(id(weight), name)
        self.names: dict[int, Ref] = {}
        self.alive: list[Any] = []
        """what has a name: else another object could have its id."""
        self.is_read: set[str] = set()
        """names of what depends on inputs or weights."""
        self.instructions: list[Instruction] = []
        self.places: list[tuple[str, str]] = []
        """of each instruction: path of the module that it is in, and the place in the code."""
        self.calls: list[Call] = []
        self.constants: dict[str, Tensor] = {}
        self.inside: list[str] = []
        self.answer = Ref(START)
        self.is_leaf = False

    def path_now(self) -> str:
        """Path of the module that runs, as the user names it."""
        return plain(self.inside[-1]) if self.inside else ""

    def record(self, model: nn.Module, ask: Ask, inputs: Mapping[str, Any]) -> None:
        """Runs it on inputs by name: tensors, and objects that follow their rows."""
        for name, value in inputs.items():
            self.names[id(value)] = Ref(name)
            self.alive.append(value)
            self.is_read.add(name)
        with self.modules_seen(), self:
            answer = ask(model, inputs)
        self.answer = self.name_of(answer)

    @contextmanager
    def modules_seen(self) -> Iterator[None]:
        """Calls of modules by this thread are written down, too."""
        original, thread = nn.Module.__call__, threading.get_ident()

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            path = self.modules.get(id(module))
            if path is None or self.is_leaf or threading.get_ident() != thread:
                return original(module, *args, **kwargs)
            return self.called(path, lambda: original(module, *args, **kwargs), args, kwargs)

        nn.Module.__call__ = call  # type: ignore[method-assign]
        try:
            yield
        finally:
            nn.Module.__call__ = original  # type: ignore[method-assign]

    def called(self, path: str, run: Callable[[], Any], args: Any, kwargs: Any) -> Any:
        """Runs a module: looks into it, or takes it as one instruction."""
        self.inside.append(path)
        arguments, begin = self.named((args, kwargs)), len(self.instructions)
        if path in self.opened:
            answer = run()
        else:
            self.is_leaf = True
            try:
                answer = run()
            finally:
                self.is_leaf = False
            answer = self.noted("call_module", path, arguments, answer)
        parts = frozenset(node.name for node in self.instructions[begin:])
        output = self.named(answer)
        if parts & {leaf for leaf in leaves_of(output) if isinstance(leaf, Ref)}:
            self.calls.append(Call(whole_call(path, arguments, output), parts, output))
        self.inside.pop()
        if path in self.exits:
            if not isinstance(answer, Tensor):
                raise ValueError(
                    f"expected {path.removeprefix('model.')!r} to give one tensor for an exit, got "
                    f"{shown(type(answer))}; name the module around it"
                )
            answer = self.noted(
                "call_function", answer_here, self.named(((answer, path), {})), answer
            )
        return answer

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs a function of torch and writes it down."""
        kwargs = kwargs or {}
        if self.is_leaf:
            return func(*args, **kwargs)
        arguments = self.named((args, kwargs))
        result = func(*args, **kwargs)
        name = func.__name__
        if name != "__setitem__" and not any(isinstance(y, Tensor) for y in leaves_of(result)):
            is_read = any(
                leaf in self.is_read for leaf in leaves_of(arguments) if type(leaf) is Ref
            )
            is_used = name not in SHAPES and result is not None
            if is_read and is_used and not place_in_code().startswith(WARNS):
                decides = name == "__bool__"
                raise UnseenError(
                    "decides by the numbers in a tensor"
                    if decides
                    else f"reads a number from a tensor by {name}"
                )
            return result
        owner = getattr(func, "__self__", None)
        if name == "__get__":
            arguments = (*arguments[0], owner.__name__), {}  # type: ignore[union-attr]
            return self.noted("call_function", getattr, arguments, result)
        if getattr(Tensor, name, None) is func and name.isidentifier():
            return self.noted("call_method", name, arguments, result)
        return self.noted("call_function", func, arguments, result)

    def noted(self, kind: str, target: Any, arguments: Any, result: Any) -> Any:
        """Adds an instruction, and names what it has given."""
        base = target.rpartition(".")[2] if isinstance(target, str) else target.__name__
        name = Ref(f"{base}_{len(self.instructions)}")
        self.add(Instruction(name, kind, target, *arguments))
        if any(leaf in self.is_read for leaf in leaves_of(arguments) if isinstance(leaf, Ref)):
            self.is_read.add(name)
        if kind == "call_module":
            self.is_read.add(name)
        return self.know(name, result)

    def add(self, node: Instruction) -> None:
        """Adds an instruction with its place in the code."""
        self.instructions.append(node)
        self.places.append((self.inside[-1] if self.inside else "model", place_in_code()))

    def know(self, name: Ref, value: Any) -> Any:
        """Names the tensors of a value; one that has a name already, as itself under another."""
        if isinstance(value, Tensor):
            if id(value) in self.names or id(value) in self.weights:
                # What is changed in place, or handed on, is another value to who uses it later.
                was, self.is_leaf = self.is_leaf, True
                value = value.view_as(value)
                self.is_leaf = was
            self.names[id(value)] = name
            self.alive.append(value)
            return value
        keys: Iterable[Any] = ()
        if isinstance(value, tuple | list | dict):
            keys = value if isinstance(value, dict) else range(len(value))
        items = {}
        for key in keys:
            items[key] = value[key]
            if any(isinstance(leaf, Tensor) for leaf in leaves_of(value[key])):
                part = Ref(f"{name}_{key}")
                self.add(Instruction(part, "call_function", operator.getitem, (name, key)))
                if name in self.is_read:
                    self.is_read.add(part)
                items[key] = self.know(part, value[key])
        if type(value) is dict:
            return items
        return type(value)(items.values()) if type(value) in (tuple, list) else value

    def named(self, tree: Any) -> Any:
        """A tree with names where there are tensors."""
        return mapped(self.name_of, tree)

    def name_of(self, leaf: Any) -> Any:
        """The name of a tensor, which a weight or a constant gets here; anything else as it is."""
        if isinstance(leaf, Tensor | Following) and id(leaf) in self.names:
            return self.names[id(leaf)]
        if not isinstance(leaf, Tensor):
            return leaf
        path = self.weights.get(id(leaf))
        if path is None:
            path = next((k for k, constant in self.constants.items() if constant is leaf), None)
        if path is None:
            path = f"constant_{len(self.constants)}"
            self.constants[path] = leaf
        name = Ref(f"{path.rpartition('.')[2]}_{len(self.instructions)}")
        if path not in self.constants:
            self.is_read.add(name)
        self.add(Instruction(name, "get_attr", path))
        return name


def whole_call(path: str, arguments: Any, output: Any) -> tuple[Instruction, ...]:
    """The call of a module as an instruction, and those that take its output apart."""
    if isinstance(output, Ref):
        return (Instruction(output, "call_module", path, *arguments),)
    instructions = [Instruction(Ref(path), "call_module", path, *arguments)]

    def take(whole: Ref, tree: Any) -> None:
        if isinstance(tree, tuple | list | dict):
            for key in tree if isinstance(tree, dict) else range(len(tree)):
                item = tree[key]
                if any(isinstance(leaf, Ref) for leaf in leaves_of(item)):
                    part = item if isinstance(item, Ref) else Ref(f"{whole}.{key}")
                    instructions.append(
                        Instruction(part, "call_function", operator.getitem, (whole, key))
                    )
                    take(part, item)

    take(Ref(path), output)
    return tuple(instructions)


def plain(path: str) -> str:
    """A path of a trace as a path of the model.

    >>> plain("model.layers.0"), plain("model")
    ('layers.0', '')
    """
    return path.removeprefix("model").removeprefix(".")


def place_in_code() -> str:
    """Function, file and line of the model's code that runs now."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(LIBRARY):
        frame = frame.f_back
    code = frame.f_code
    return f"{code.co_name} ({Path(code.co_filename).name}, line {frame.f_lineno})"
