"""Compiles kernels: numba's options, a cache that detects changed sources, sizes of panels.

A panel keeps its sums in vector registers. AVX-512 has 32 registers of 16 floats, AVX2 has 16 of 8:
a panel made for the first spills most of its sums on the second and takes twice as long. Panels
therefore have as many sums as the machine keeps in registers. Other machines count as AVX2.
"""

import contextlib
import hashlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, config
from numba.core import event as events
from numba.core.caching import FunctionCache
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic
from tqdm import tqdm

NOT_KEPT = (
    "in every process: neither the package's folder nor this user's cache folder can be written "
    "in; give NUMBA_CACHE_DIR"
)


def kept(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compiles functions and keeps them on disk, where that can be.

    A user who may write neither next to the sources nor in a cache folder of his own gets them
    compiled again in every process.
    """

    def compile_one(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            return njit(**options)(function)

    return compile_one


def entry(kernel: Any, signature: Any) -> int:
    """Address of a kernel of `compiled` for other kernels, with numba's calling convention.

    It is compiled, or loaded, now.
    """
    kernel.compile(signature)
    overload = kernel.overloads[signature.args]
    address: int = overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name)
    return address


def called_by_name(kernel: Any) -> Any:
    """A kernel of int64 arguments without a result for other kernels, which call it by a symbol.

    Numba compiles what a kernel calls once more into each of its callers, which takes most of the
    time for large ones. These are compiled once instead, and callers find them by name.
    """
    parameters = list(inspect.signature(kernel.py_func).parameters)
    signature = types.void(*[types.int64] * len(parameters))
    symbol = f"{kernel.py_func.__module__}.{kernel.py_func.__name__}"
    llvm.add_symbol(symbol, entry(kernel, signature))
    return make_call(signature, parameters, symbol)


def make_call(signature: Any, parameters: Sequence[str] = (), symbol: str = "") -> Any:
    """Makes what calls a kernel in a kernel; exceptions pass through.

    Numba's signature is that of the kernel that is called, the parameters name its arguments.
    Without a symbol, where it is found, its address is the first argument.
    """
    names = list(parameters) or [f"argument_{n}" for n in range(len(signature.args))]

    def call(context: Any, builder: Any, values: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(signature.return_type, signature.args)
        if symbol:
            function = cgutils.get_or_insert_function(builder.module, kind, symbol)
        else:
            address, *values = values
            function = builder.inttoptr(address, kind.as_pointer())
        status, result = convention.call_function(
            builder, function, signature.return_type, signature.args, values
        )
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return result

    if symbol:
        return named_intrinsic(call, names, signature)
    by_address = signature.return_type(types.int64, *signature.args)
    return named_intrinsic(call, ["address", *names], by_address)


def named_intrinsic(code: Callable[..., Any], names: list[str], signature: Any) -> Any:
    """Numba's intrinsic of arguments with these names: code(context, builder, values) -> value."""

    def typed(typingctx: Any, *_: Any) -> Any:
        return signature, lambda context, builder, sig, values: code(context, builder, values)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("typingctx", *names)]
    vars(typed)["__signature__"] = inspect.Signature(parameters)
    return intrinsic(typed)


def emitted(result: Any = types.void, arguments: Any = types.int64) -> Callable[..., Any]:
    """Makes a function that kernels call of one that emits its code: (builder, *values) -> value.

    Numba's types are those of the result and of each argument.
    """

    def make(emit: Callable[..., Any]) -> Any:
        names = list(inspect.signature(emit).parameters)[1:]

        def code(context: Any, builder: Any, values: Any) -> Any:
            value = emit(builder, *values)
            return context.get_dummy_value() if value is None else value

        return named_intrinsic(code, names, result(*[arguments] * len(names)))

    return make


@emitted(types.voidptr)
def as_pointer(builder: Any, address: Any) -> Any:
    """int64 address -> void pointer, for numba's carray."""
    return builder.inttoptr(address, ir.IntType(8).as_pointer())


compiled = kept(nogil=True, error_model="numpy")
inlined = njit(inline="always", error_model="numpy")


class Announcement(events.Listener):
    """Says once, on the standard error stream, that kernels are compiled and not loaded.

    The first call on a machine would otherwise be silent for half a minute. Processes that work for
    one program share a `may_say`, so that only the first of them says it.
    """

    def __init__(self) -> None:
        self.is_done = False
        self.may_say: Callable[[], bool] = lambda: True

    def on_start(self, event: events.Event) -> None:
        """Numba begins to compile a function that its cache does not hold."""
        ours = event.data["dispatcher"].py_func.__module__.startswith("ccenv.")
        if ours and not self.is_done:
            self.is_done = True
            is_kept = isinstance(event.data["dispatcher"]._cache, FunctionCache)
            if self.may_say():
                told = "once, then cached" if is_kept else NOT_KEPT
                tqdm.write(f"ccenv: compiling kernels (up to 20 seconds; {told})", file=sys.stderr)

    def on_end(self, event: events.Event) -> None:
        """Nothing to say."""


def forget_stale(folder: Path, *others: Path) -> None:
    """Deletes compiled functions below a folder that were made from other sources than today's.

    Numba compares a function with its own file only, so what calls or inlines a kernel of another
    file, in the folder or in others, would keep the old one. Where the folder cannot be written
    numba keeps its cache elsewhere.
    """
    sources = {root: sorted(root.rglob("*.py")) for root in (folder, *others)}
    digest = hashlib.sha256()
    for root, paths in sources.items():
        for path in paths:
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    for place in sorted({path.parent for path in sources[folder]}):
        cache = place / "__pycache__"
        stamp = cache / "kernels.sha256"
        with contextlib.suppress(OSError):
            if stamp.exists() and stamp.read_text() == digest.hexdigest():
                continue
            for path in cache.glob("*.nb[ic]"):
                path.unlink(missing_ok=True)
            cache.mkdir(exist_ok=True)
            stamp.write_text(digest.hexdigest())


KERNELS = Path(__file__).parents[1]
"""Folder of all kernels."""
forget_stale(KERNELS)
announcement = Announcement()
events.register("numba:compile", announcement)


def has_avx512(features: str) -> bool:
    """Whether kernels may use vectors of 16 floats, by LLVM's list of features.

    >>> has_avx512("+avx2,+avx512f"), has_avx512("+avx2,-avx512f")
    (True, False)
    """
    named = [name for name in features.split(",") if name.lstrip("+-") == "avx512f"]
    return bool(named) and named[-1].startswith("+")


# As numba compiles: for this machine, unless NUMBA_CPU_FEATURES says otherwise.
WIDE = has_avx512(vars(config).get("CPU_FEATURES") or get_host_cpu_features())
LANES = 16 if WIDE else 8
"""Floats of a vector."""
ROWS_OF_64, ROWS_OF_32 = (2**31, 2**31) if WIDE else (1, 3)
"""Up to so many rows share weights in panels of 64 and 32 columns, more in panels of 16."""
FOLD = 2 if WIDE else 1
"""Sets of partial sums of a panel of four columns."""
