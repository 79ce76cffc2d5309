"""A program of the compiled call under construction: layers and places in the workspace."""

from dataclasses import dataclass, field

from torch import Tensor, int64
from torch.nn.functional import pad

from ccenv.deploy.fused import program as ops
from ccenv.sparse.cpu.codegen.floats import NONE, RELU, TANH

ACTIVATIONS = {None: NONE, "tanh": TANH, "relu": RELU}
LANES = 16
QUARTER = 4
"""Blocks are padded to a multiple of this many units: others take up to twice as long."""


@dataclass
class Writer:
    """A program under construction."""

    codes: list[list[int]] = field(default_factory=list)
    """instructions so far."""
    floats: int = 0
    """workspace of a row so far."""
    kept: list[Tensor] = field(default_factory=list)
    """tensors whose addresses stand in the program."""

    def place(self, floats: int) -> int:
        """Reserves a place for `floats` of each row, whole cache lines."""
        start = self.floats
        self.floats += -(-floats // LANES) * LANES
        return start

    def write(self, op: int, source: int, target: int, *numbers: int) -> None:
        """Adds an instruction."""
        code = [op, source, target, *numbers]
        self.codes.append(code + [0] * (ops.FIELDS - len(code)))

    def keep(self, tensor: Tensor) -> int:
        """Keeps a contiguous float32 tensor as long as the program; returns its address."""
        tensor = tensor.detach().float().contiguous()
        # A copy, so that the program's numbers never change under it.
        tensor = tensor.clone()
        self.kept.append(tensor)
        return tensor.data_ptr()

    def keep_integers(self, tensor: Tensor) -> int:
        """Keeps a contiguous int64 tensor as long as the program; returns its address."""
        tensor = tensor.detach().to(int64).contiguous().clone()
        self.kept.append(tensor)
        return tensor.data_ptr()

    def layer(
        self,
        weight: Tensor,
        bias: Tensor | None,
        source: int,
        activation: str | None,
        masks: tuple[int, int],
        blocks: tuple[int, int],
        target: int | None = None,
    ) -> int:
        """Adds a layer of a weight [out, in]; returns its result's place, by default a new one."""
        (units, features), (in_blocks, out_blocks) = weight.shape, blocks
        panels = weight.unflatten(0, (out_blocks, -1)).transpose(1, 2)
        target = self.place(units) if target is None else target
        out_size = units // out_blocks
        self.write(
            ops.LAYER,
            source,
            target,
            *masks,
            self.keep(panels),
            out_size,
            features * out_size,
            0 if bias is None else self.keep(bias),
            in_blocks,
            features // in_blocks,
            out_blocks,
            out_size,
            ACTIVATIONS[activation],
        )
        return target


def padded(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Adds outputs of zero up to a whole vector: narrow layers run as fast as wide ones."""
    extra = -weight.shape[0] % LANES
    rows = pad(weight.detach(), (0, 0, 0, extra))
    return rows, None if bias is None else pad(bias.detach(), (0, extra))


def filled_size(size: int) -> int:
    """Units of a block of `size` after padding."""
    return size + -size % QUARTER


def filled(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Adds zeros behind each block of `size` along a dimension, up to a multiple of `QUARTER`.

    >>> filled(Tensor([1, 1, 1, 1, 1, 1]), 0, 3)
    tensor([1., 1., 1., 0., 1., 1., 1., 0.])
    """
    blocks = tensor.detach().unflatten(dim, (-1, size))
    behind = [0, 0] * (blocks.ndim - dim - 2)
    return pad(blocks, (*behind, 0, filled_size(size) - size)).flatten(dim, dim + 1)
