"""A CUDA device that is not there: tensors with values, and a count of what makes the host wait.

Each tensor "on the device" wraps one on the CPU, so that the code runs with true values and takes
the branches that a device takes. Every operation passes `FakeDevice`, which counts those for which
a real device is waited for, and says from which line they came. It refuses operands of both sides,
as a device does.
"""

import contextlib
import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
PACKAGE = str(Path(__file__).parents[3] / "ccenv")
aten = torch.ops.aten
# Their results have sizes, or are Python numbers, that depend on values.
WAITING = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.repeat_interleave,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.bincount,
    aten.histc,
    aten.equal,
    # Made of others that torch does not send through here, of which some read a value: `allclose`
    # ends in `.item()`, `multinomial` looks at its chances (twice in older versions; newer ones
    # check on the device), and linear algebra at what a solver reports.
    aten.allclose,
    aten.multinomial,
    aten._linalg_check_errors,
}
PAGED = 64 * 1024
"""Bytes up to which CUDA copies from memory that is not pinned without a wait."""
UNWRITTEN = {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class DeviceTensor(torch.Tensor):
    """A tensor on the CPU that says it lies on the device."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, value):
        # To torch itself it is a meta tensor: a build without CUDA has no gradients on CUDA.
        return torch.Tensor._make_wrapper_subclass(
            cls,
            value.shape,
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            device="meta",
        )

    def __init__(self, value):
        self.value = value

    device = property(lambda self: DEVICE)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    is_meta = property(lambda self: False)

    def to(self, *args, **kwargs):
        device, dtype, is_queued, _ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type == "cpu":
            return super().to(device, dtype or self.dtype, is_queued)
        return self if dtype in (None, self.dtype) else super().to(dtype)

    def tolist(self):
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"expected {func} within FakeDevice, got it outside")


class DeviceGenerator(torch.Generator):
    """A generator that says it is the device's, and draws as the CPU's does."""

    # Operations are given the bare generator: those of the device are known by their seeds.
    seeds: ClassVar[set[int]] = set()

    def __new__(cls, device="cpu"):
        made = super().__new__(cls)
        made.place = torch.device(device)
        return made

    device = property(lambda self: self.place)

    def manual_seed(self, seed):
        if self.place.type == "cuda":
            self.seeds.add(seed)
        return super().manual_seed(seed)


class FakeDevice(TorchDispatchMode):
    """Runs what is asked of the device on the CPU, and counts what waits."""

    def __init__(self):
        super().__init__()
        self.waits, self.copies = Counter(), Counter()

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        self.stack.callback(torch._C._set_only_lift_cpu_tensors, before)
        return super().__enter__()

    def __exit__(self, *error):
        self.stack.close()
        return super().__exit__(*error)

    @contextlib.contextmanager
    def counting(self):
        """Two counters, by line, of what happens within: waits, and copies that are only queued."""
        before = self.waits, self.copies
        self.waits, self.copies = counters = Counter(), Counter()
        yield counters
        self.waits, self.copies = (a + b for a, b in zip(before, counters, strict=True))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        on_device = [x for x in tensors if is_there(x)]
        asked = kwargs.get("device")
        # What torch itself makes beside a tensor, it makes where it thinks that one is.
        goes = bool(on_device) if asked is None else torch.device(asked).type in ("cuda", "meta")
        if goes and asked is not None:
            kwargs["device"] = torch.device("cpu")
        self._count(func, args, kwargs, tensors, goes)
        wrapped = {id(x.value): x for x in on_device}
        values, named = tree_map(plain, (args, kwargs))
        # Kernels that are started do nothing: what they would write is 0, and not what was there.
        is_fresh = goes and func.overloadpacket in UNWRITTEN
        results = func(*values, **named).zero_() if is_fresh else func(*values, **named)
        if func is aten.copy_.default:
            return args[0]
        return tree_map(lambda x: self._placed(x, wrapped, goes), results)

    def _placed(self, result, wrapped, goes):
        if not isinstance(result, torch.Tensor) or not goes:
            return result
        device_tensor = wrapped.get(id(result))
        return DeviceTensor(result) if device_tensor is None else device_tensor

    def _count(self, func, args, kwargs, tensors, goes):
        packet = func.overloadpacket
        sides = {is_there(x) for x in tensors if x.ndim}
        generator = kwargs.get("generator")
        if generator is not None and (generator.initial_seed() in DeviceGenerator.seeds) != goes:
            raise RuntimeError(f"expected {func} where its generator is")
        if packet in (aten._to_copy, aten.copy_):
            source = args[0] if packet is aten._to_copy else args[1]
            target = goes if packet is aten._to_copy else is_there(args[0])
            if is_there(source) == target:
                return
            is_queued = kwargs.get("non_blocking") or (packet is aten.copy_ and args[2:] == (True,))
            # Larger ones wait for the copy to memory that CUDA has pinned itself.
            is_queued = is_queued and (source.is_pinned() or source.nbytes <= PAGED)
            place = self.copies if target and is_queued else self.waits
            place[f"{'to' if target else 'from'} the device at {where()}"] += 1
        elif packet in INDEXING and True in map(is_there, tensors):
            indices = [x for x in args[1] if x is not None]
            if any(x.dtype in (torch.bool, torch.uint8) for x in indices) or len(sides) > 1:
                self.waits[f"{packet.__name__} at {where()}"] += 1
        elif len(sides) > 1:
            raise RuntimeError(
                f"expected all tensors of {func} on one device, got both at {where()}"
            )
        elif packet in WAITING and True in map(is_there, tensors) and "output_size" not in kwargs:
            self.waits[f"{packet.__name__} at {where()}"] += 1


def is_there(x):
    return isinstance(x, DeviceTensor)


def plain(x):
    return x.value if is_there(x) else x


def where():
    """The innermost line of the package on the stack, or of anything else."""
    frame = first = sys._getframe(3)
    while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    frame = frame or first
    name = Path(frame.f_code.co_filename)
    shown = name.relative_to(PACKAGE) if name.is_relative_to(PACKAGE) else name.name
    return f"{shown}:{frame.f_lineno} {frame.f_code.co_name}"


def install(monkeypatch):
    """Puts the device where torch would look for one; kernels are started, and do nothing."""
    from ccenv.annexes.sparse_gpu import dense, gradients, lists, products, routes

    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_of", lambda tensor: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    monkeypatch.setattr(torch, "Generator", DeviceGenerator)
    monkeypatch.setattr(routes, "triton_takes", lambda device, dtype: True)
    for module in (lists, products, gradients, dense):
        monkeypatch.setattr(module, "launch", lambda *args, **constants: None)
