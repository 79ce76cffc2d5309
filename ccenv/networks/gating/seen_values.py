"""What traced code holds: values whose example is known, and names of its file that notice them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.fx.proxy import Attribute, Proxy, TraceError

from ccenv.networks.gating.traced_values import leaves_of

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
    spaces += [(getattr(type(module).forward, "__globals__", {}), "len") for module in modules]
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
