"""Activations copied for several masks of an input, and their gradients, by the kernel `repeat`."""

from collections.abc import Sequence

from torch import Tensor

from ccenv.sparse.buffers import LARGE, new_result
from ccenv.sparse.cpu.addresses import differentiable, share_parts
from ccenv.sparse.cpu.elementwise_kernels import repeat


def copies(shared: Tensor, mask: Tensor) -> tuple[Tensor, tuple[Tensor], tuple[int]]:
    """Copies what each mask keeps; the gradient needs the mask only."""
    y = new_result(len(mask), shared.shape[1])
    run_repeat(shared, y, mask, backward=False)
    return y, (mask,), (len(shared),)


def sums(
    kept: tuple[Tensor], grad: Tensor, wanted: Sequence[bool], num_inputs: int
) -> tuple[Tensor]:
    """Sums over the masks of an image, block by block."""
    total = new_result(num_inputs, grad.shape[1])
    run_repeat(total, grad.contiguous(), *kept, backward=True)
    return (total,)


repeated = differentiable(copies, sums)


def run_repeat(shared: Tensor, rows: Tensor, mask: Tensor, *, backward: bool) -> None:
    """Runs the kernel on all images, in parts where there are threads and much to write."""
    (num_inputs, width), blocks = shared.shape, mask.shape[1]
    group = len(mask) // num_inputs
    addresses = shared.data_ptr(), rows.data_ptr(), mask.data_ptr()

    def work(first: int, last: int) -> None:
        repeat(*addresses, group, blocks, width // blocks, first, last, backward)

    share_parts(work, num_inputs, max(1, LARGE // (group * width)))
