"""Compiles the GPU's kernels ahead of time for two cards: registers, spills and shared memory.

No card is needed: Triton brings NVIDIA's assembler. The numbers are read from the machine code.
"""

import argparse
import contextlib
import itertools
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from ccenv.base.registry import import_object
from ccenv.runs.lab.experiment import Experiment, Options, Row

ARCHITECTURES = (80, 90)
"""Compute capability times 10: Ampere (A100) and Hopper (H100)."""
FEW_SIZES, ALL_SIZES = (16, 64), (4, 5, 8, 12, 16, 24, 32, 48, 64, 100, 128)
"""Units of a block."""
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
STARTERS = ("lists", "products", "gradients", "dense")
"""Modules of `ccenv.annexes.sparse_gpu` that start kernels."""
POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.uint8: "*u8",
    torch.bool: "*i1",
}
"""Triton's names of them."""


class Compiler:
    """Takes the place of the launcher: compiles what would be started, each variant once."""

    def __init__(self, architecture: int) -> None:
        """Compiles for one of `ARCHITECTURES`, or another one."""
        self.architecture = architecture
        self.seen: dict[tuple[Any, ...], Any] = {}

    def __call__(
        self,
        kernel: Any,
        programs: int,
        *args: Any,
        warps: int = 4,
        stages: int = 1,
        **constants: Any,
    ) -> None:
        """As `ccenv.annexes.sparse_gpu.plan.launch`."""
        values = dict(zip(kernel.arg_names, args, strict=False)) | constants
        if list(values) != kernel.arg_names or programs < 1:
            raise ValueError(f"expected {kernel.arg_names} and a program, got {list(values)}")
        fixed = {p.name for p in kernel.params if p.do_not_specialize}
        kinds = {
            name: kind_of(value, name in constants, name in fixed) for name, value in values.items()
        }
        key = (kernel.fn.__name__, str(kinds), str(constants), warps, stages)
        if key not in self.seen:
            self.seen[key] = self.compile(kernel, values, kinds, fixed, warps, stages)

    def compile(
        self,
        kernel: Any,
        values: dict[str, Any],
        kinds: dict[str, str],
        fixed: set[str],
        warps: int,
        stages: int,
    ) -> Any:
        """Machine code of one variant, specialised as Triton's own launcher does it."""
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        constants = {name: values[name] for name, kind in kinds.items() if kind == "constexpr"}
        aligned = {
            (place,): [["tt.divisibility", 16]]
            for place, (name, value) in enumerate(values.items())
            if kinds[name] != "constexpr" and name not in fixed and is_aligned(value)
        }
        return triton.compile(
            ASTSource(kernel, kinds, constants, aligned),
            target=GPUTarget("cuda", self.architecture, 32),
            options={"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True},
        )

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Lets everything that would start a kernel compile it instead."""
        with contextlib.ExitStack() as stack:
            for name in STARTERS:
                stack.enter_context(mock.patch(f"ccenv.annexes.sparse_gpu.{name}.launch", self))
            yield


def kind_of(value: Any, is_constant: bool, is_fixed: bool) -> str:
    """The type that Triton gives an argument."""
    if is_constant or value is None or (not is_fixed and isinstance(value, int) and value == 1):
        return "constexpr"
    return POINTERS[value.dtype] if isinstance(value, Tensor) else "i32"


def is_aligned(value: Any) -> bool:
    """Whether Triton compiles for a multiple of 16."""
    return bool((value.data_ptr() if isinstance(value, Tensor) else value) % 16 == 0)


def start_layer(
    batch: int,
    block_size: int,
    dtype: torch.dtype,
    *,
    has_in_mask: bool = True,
    has_out_mask: bool = True,
    in_major: bool = True,
    is_dense: bool = False,
) -> None:
    """One layer of about 512 units forward and backward; results are what was in memory."""
    blocks = max(2, 512 // block_size // 16 * 16)
    width = blocks * block_size
    mask = torch.ones(batch, blocks, dtype=torch.bool)
    weight = torch.zeros(width, width, dtype=dtype)
    weight = weight if in_major else weight.t()
    leaves = [torch.zeros(batch, width, dtype=dtype), weight, torch.zeros(width, dtype=dtype)]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    masks = mask if has_in_mask else None, mask if has_out_mask else None
    route = "dense:dense_linear" if is_dense else "layer:triton_linear"
    y = import_object(f"ccenv.annexes.sparse_gpu.{route}", "route")((*leaves, *masks), "tanh")
    y.backward(torch.zeros_like(y))


def start_all(block_size: int, dtype: torch.dtype) -> None:
    """Every way to compute a layer: few rows and many, masks on either side, both layouts."""
    for batch in (8, 33, 8192):
        start_layer(batch, block_size, dtype)
    start_layer(256, block_size, dtype, has_in_mask=False, in_major=False)
    start_layer(1024, block_size, dtype, has_out_mask=False, in_major=False)
    start_layer(256, block_size, dtype, in_major=False, is_dense=True)
    start_layer(256, block_size, dtype, has_in_mask=False, is_dense=True)
    start_layer(256, block_size, dtype, has_out_mask=False, is_dense=True)


def resources(compiled: Any) -> tuple[int, int]:
    """Registers of a thread, and bytes of local memory, to which registers are spilled."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack, local = (
        max(int(number) for number in re.findall(rf"\b{word}:(\d+)", text))
        for word in ("REG", "STACK", "LOCAL")
    )
    return registers, stack + local


def variants(options: Options) -> Iterator[Row]:
    """A row for each variant of a kernel on each architecture, and one for each kernel."""
    for architecture in ARCHITECTURES:
        compiler = Compiler(architecture)
        sizes = ALL_SIZES if options.all_sizes else FEW_SIZES
        with compiler.in_place():
            for size, dtype in itertools.product(sizes, DTYPES):
                start_all(size, dtype)
        kernels: dict[str, list[tuple[int, int, int]]] = {}
        for (name, *_), compiled in compiler.seen.items():
            numbers = (*resources(compiled), compiled.metadata.shared)
            kernels.setdefault(name, []).append(numbers)
        for name, figures in sorted(kernels.items()):
            registers, spilled, shared = zip(*figures, strict=True)
            yield {
                "kernel": name,
                "architecture": f"sm_{architecture}",
                "variants": len(figures),
                "registers": max(registers),
                "spilling": sum(size > 0 for size in spilled),
                "spilled": max(spilled),
                "shared": max(shared) / 1024,
            }


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many variants."""
    told = f"blocks of {FEW_SIZES[0]} to {FEW_SIZES[-1]} units only, unless all are asked for"
    parser.add_argument("--all-sizes", action="store_true", help=told)


GPU_REGISTERS = Experiment(
    name="gpu-registers",
    about="registers and spills of the GPU's kernels, compiled for sm_80 and sm_90",
    run=variants,
    columns={
        "kernel": "<{kernel}",
        "card": "<{architecture}",
        "variants": ">{variants}",
        "most registers": ">{registers}",
        "variants that spill": ">{spilling}",
        "most spilled, bytes": ">{spilled}",
        "most shared memory, KiB": ">{shared:.1f}",
    },
    add_options=add_options,
    notes="A thread has 255 registers at most. Fewer spills are better.",
)
