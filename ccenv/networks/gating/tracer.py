"""torch.fx's tracer, with the example running along: (module, one input, inner modules) -> `Trace`.

Two changes to it. Only modules that hold a gate are looked into; all else is one instruction,
whatever its code does. And the example runs along, for one row and for two: sizes are plain numbers
then, control flow that depends on them is followed, and it shows which values belong to rows.
Reed et al. 2022, "torch.fx" (arXiv 2112.08429).
"""

import operator
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import Attribute, Proxy, TraceError

from ccenv.base.values import shown
from ccenv.networks.gating.trace import (
    BY_HAND,
    METHODS_OF_SHAPE,
    Call,
    Instruction,
    Ref,
    Trace,
    answer_here,
    layout_of,
    leaves_of,
    mapped,
    part_of,
    without_unused,
)

FUNCTIONS_OF_SHAPE = (torch.is_floating_point, torch.is_complex, torch.numel, torch.is_tensor)
PLAIN = (bool, int, float, str, type(None))


class CannotFollowError(ValueError):
    """The code of a module decides by what only a run can tell."""

    def __init__(self, text: str, path: str) -> None:
        super().__init__(text)
        self.path = path


FACTORIES = ("arange", "zeros", "ones", "full", "empty", "eye", "linspace", "tensor")
"""Functions of torch that take no tensor, and so do not notice a traced argument by themselves."""


class SeenProxy(Proxy):
    """A traced value of which the example's value is known."""

    def example(self) -> Any:
        """Its value for one row."""
        return self.tracer.one[self.node.name]  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        """Methods are called later; everything else is looked up now."""
        if callable(getattr(self.example(), name)):
            return Attribute(self, name)
        return self.tracer.create_proxy("call_function", getattr, (self, name), {})

    def __iter__(self) -> Iterator[Any]:
        """Along the first dimension, where it is no batch."""
        items: Any = self
        return iter([items[i] for i in range(len(self))])

    def __len__(self) -> int:
        """Size of the first dimension, where it is no batch; see `traced_names` for others."""
        size = self.shape[0]
        if isinstance(size, Proxy):
            raise TraceError("goes through the rows of a batch")
        return int(size)

    def __index__(self) -> int:
        """Reached only by what is not the same for any batch."""
        raise TraceError("makes a plain number of what depends on the input")

    __int__ = __float__ = __index__


@contextmanager
def traced_names(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Lets `torch.arange` and its kin, and `len` in the code of modules, be traced."""

    def noticing(original: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **kwargs: Any) -> Any:
            given = [leaf for leaf in leaves_of((args, kwargs)) if isinstance(leaf, Proxy)]
            if not given:
                return original(*args, **kwargs)
            return given[0].tracer.create_proxy("call_function", original, args, kwargs)

        return made

    def length(x: Any) -> Any:
        return x.shape[0] if isinstance(x, SeenProxy) else len(x)

    spaces: list[tuple[dict[str, Any], str]] = [(vars(torch), name) for name in FACTORIES]
    # One for each file whose code is followed.
    files = [getattr(type(module).forward, "__globals__", {}) for module in modules]
    spaces += [(file, "len") for file in {id(file): file for file in files}.values()]
    before: list[tuple[dict[str, Any], str, Any]] = [(*at, at[0].get(at[1])) for at in spaces]
    try:
        for space, name, found in before:
            space[name] = length if name == "len" else noticing(found)
        yield
    finally:
        for space, name, found in reversed(before):
            if found is None:
                del space[name]
            else:
                space[name] = found


class Root(nn.Module):
    """The module that is traced: paths begin with "model."."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Any:
        """Calls it with one argument: others keep their defaults."""
        return self.model(inputs)


class SeeingTracer(fx.Tracer):
    """Traces and runs at once, for one row and for two."""

    def __init__(self, opened: Collection[str], exits: Collection[str], example: Tensor) -> None:
        super().__init__()
        self.proxy_buffer_attributes = True
        self.opened, self.exits = opened, exits
        one = example.detach().clone()
        self.inputs = (one, one.repeat_interleave(2, 0))
        self.one: dict[str, Any] = {}
        self.two: dict[str, Any] = {}
        self.versions: dict[str, int] = {}
        self.changed: dict[str, set[str]] = {}
        self.instructions: list[Instruction] = []
        self.calls: list[Call] = []
        self.inside: list[str] = []
        self.is_running = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """All but those that hold a gate."""
        return module_qualified_name not in self.opened

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Parameters are traced, but not those of a module that is just being run."""
        if self.is_running:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Writes down where exits are, and which module the tracer is in."""
        if self.is_running:
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        self.inside.append(path)
        begin = len(self.instructions)
        found = super().call_module(m, forward, args, kwargs)
        self.inside.pop()
        if isinstance(found, Proxy) and len(self.instructions) > begin:
            refs = named_nodes(self.create_arg((args, kwargs)))
            parts = frozenset(node.name for node in self.instructions[begin:])
            whole = Instruction(found.node.name, "call_module", path, *refs)
            self.calls.append(Call(whole, parts))
        if path in self.exits:
            found = self.create_proxy("call_function", answer_here, (found, path), {})
        return found

    def create_node(
        self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any
    ) -> fx.Node:
        """Runs each instruction when it is written down."""
        node = super().create_node(kind, target, args, kwargs, *rest, **more)
        if kind == "placeholder":
            self._note(node.name, *self.inputs)
        elif kind != "output":
            refs = named_nodes((node.args, dict(node.kwargs)))
            instruction = Instruction(node.name, kind, target, *refs)
            self.is_running = True
            one, two = (instruction.run(self._part, values) for values in (self.one, self.two))
            self.is_running = False
            before = self.versions.items()
            changed = {name for name, seen in before if times_changed(self.two[name]) != seen}
            self._note(node.name, one, two)
            self.versions.update({name: times_changed(self.two[name]) for name in changed})
            self.changed[node.name] = changed
            self.instructions.append(instruction)
        return node

    def _note(self, name: str, one: Any, two: Any) -> None:
        self.one[name], self.two[name], self.versions[name] = one, two, times_changed(two)

    def _part(self, path: str) -> Any:
        return part_of(self.root, path)

    def proxy(self, node: fx.Node) -> Any:
        """Tuples and lists fall apart, what is the same for any batch is itself."""
        one, two = self.one[node.name], self.two[node.name]
        if isinstance(one, Tensor):
            return SeenProxy(node, self)
        if type(one) in (tuple, list, torch.Size, dict) and len(one) == len(two):
            whole = SeenProxy(node, self)
            keys = one if isinstance(one, dict) else range(len(one))
            items = [
                self.create_proxy("call_function", operator.getitem, (whole, k), {}) for k in keys
            ]
            if isinstance(one, dict):
                return dict(zip(keys, items, strict=True))
            return items if isinstance(one, list) else tuple(items)
        # A number that is read from a tensor is another one for the next input.
        is_read = any(isinstance(self.one[n.name], Tensor) for n in node.all_input_nodes)
        is_of_shape = (
            node.target is getattr
            or (node.op == "call_method" and node.target in METHODS_OF_SHAPE)
            or node.target in FUNCTIONS_OF_SHAPE
        )
        if is_read and one is not None and isinstance(one, PLAIN) and not is_of_shape:
            raise TraceError(f"reads a number from a tensor by {node.target}")
        is_same = type(one) is type(two) and isinstance(one, PLAIN) and one == two
        return one if is_same else SeenProxy(node, self)

    def to_bool(self, obj: Proxy) -> bool:
        """Reached only by what is not the same for any input."""
        is_tensor = isinstance(self.one[obj.node.name], Tensor)
        what = "the numbers in a tensor" if is_tensor else "how many rows there are"
        raise TraceError(f"decides by {what}")


def named_nodes(given: Any) -> Any:
    """Arguments with names where there are nodes."""
    return mapped(lambda leaf: Ref(leaf.name) if isinstance(leaf, fx.Node) else leaf, given)


def times_changed(value: Any) -> int:
    """How often a tensor was changed in place, by any of its views."""
    return value._version if isinstance(value, Tensor) else 0


def trace(
    model: nn.Module, example: Tensor, opened: Collection[str], exits: Collection[str] = ()
) -> Trace:
    """Follows a module's forward, and those of opened children, on one input [1, ...].

    Behind the children of `exits` it puts `answer_here`. Code that decides by numbers in tensors or
    by the number of rows, or does what torch.fx cannot follow, is a CannotFollowError.
    """
    inside = {"model", *(f"model.{path}" for path in opened)}
    followed = [model, *(model.get_submodule(path) for path in opened)]
    with torch.inference_mode(False), torch.no_grad(), traced_names(followed):
        tracer = SeeingTracer(inside, {f"model.{path}" for path in exits}, example)
        root = Root(model).train(model.training)
        before = set(vars(root))
        try:
            graph = tracer.trace(root)
        except Exception as error:
            raise cannot_follow(error, tracer.inside) from error
    constants = {name: getattr(root, name) for name in set(vars(root)) - before}
    (start,) = (node.name for node in graph.nodes if node.op == "placeholder")
    (answer,) = (node.args[0] for node in graph.nodes if node.op == "output")
    if not isinstance(answer, fx.Node):
        raise ValueError(f"expected the model to answer with one tensor, got {shown(answer)}")
    instructions = without_unused(tracer.instructions, answer.name)
    values = {name: (one, tracer.two[name]) for name, one in tracer.one.items()}
    layouts = {name: layout_of(*both) for name, both in values.items()}
    return Trace(
        start,
        instructions,
        answer.name,
        values,
        layouts,
        tracer.changed,
        tracer.calls,
        constants,
    )


def cannot_follow(error: Exception, inside: list[str]) -> CannotFollowError:
    """Says which code cannot be followed, why, and what else to do."""
    library = (str(Path(fx.__file__).parent), str(Path(__file__).parent))
    stack = traceback.extract_tb(error.__traceback__)
    where = "its code"
    for frame in stack:
        if not frame.filename.startswith(library):
            where = f"{frame.name} ({Path(frame.filename).name}, line {frame.lineno})"
    path = inside[-1].removeprefix("model").removeprefix(".") if inside else ""
    instead = f"gate {path!r} as a whole" if path else "gate other children"
    is_ours = isinstance(error, TraceError)
    why = str(error) if is_ours else f"gave {type(error).__name__}: {error}"
    text = (
        f"cannot follow the forward of {path or 'the model'}, which lies around a gated child: "
        f"{where} {why}; {instead}, or {BY_HAND}"
    )
    return CannotFollowError(text, path)
