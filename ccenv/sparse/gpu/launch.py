"""How a Triton kernel is started: (kernel, number of programs, arguments) -> work on the stream."""

from typing import Any


def launch(
    kernel: Any, programs: int, *args: Any, warps: int = 4, stages: int = 1, **constants: Any
) -> None:
    """Starts `programs` programs of a kernel; returns before they have run.

    Args:
        kernel: a function under `triton.jit`.
        programs: how many.
        args: tensors, numbers and Nones that the kernel takes.
        warps: groups of 32 threads of a program.
        stages: steps of a loop whose loads are under way at once.
        constants: numbers the kernel is compiled for.
    """
    # Fused multiply-adds are named because Triton is about to change its default.
    kernel[(programs,)](
        *args, num_warps=warps, num_stages=stages, enable_fp_fusion=True, **constants
    )
