"""A program of the compiled call under construction: layers, rules, places in the workspace."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ccenv.annexes.deploy.fused import program as ops
from ccenv.mdp.choosers import K_RULES, MIXED, Chooser, mixed_size
from ccenv.networks.core.lowering import Affine
from ccenv.sparse.cpu.codegen.compiled import entry
from ccenv.sparse.cpu.codegen.floats import NONE, RELU, TANH

ACTIVATIONS = {None: NONE, "tanh": TANH, "relu": RELU}
RULES = dict.fromkeys(K_RULES, ops.top_k) | {
    "greedy": ops.greedy,
    "sampled": ops.draw_blocks,
    MIXED: ops.one_or_coins,
}
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

    def write(self, op: Any, source: int, target: int, **numbers: int) -> None:
        """Adds an instruction; the numbers' names are those of the op."""
        head = {"op": entry(op, ops.OP), "source": source, "target": target}
        self.codes.append(ops.code_line(ops.NAMES[op], **head, **numbers))

    def program(self, **header: int) -> list[list[int]]:
        """All lines, the first one with these numbers and the writer's own."""
        sizes = {"length": len(self.codes), "floats": self.floats}
        return [ops.code_line(ops.HEADER, **sizes, **header), *self.codes]

    def keep(self, tensor: Tensor, dtype: torch.dtype = torch.float32) -> int:
        """Keeps a contiguous copy of a tensor as long as the program; returns its address."""
        # A copy, so that the program's numbers never change under it.
        tensor = tensor.detach().to(dtype).contiguous().clone()
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
            ops.layer,
            source,
            target,
            in_gate=masks[0],
            gate=masks[1],
            weights=self.keep(panels),
            row=out_size,
            panel=features * out_size,
            bias=0 if bias is None else self.keep(bias),
            in_blocks=in_blocks,
            in_size=features // in_blocks,
            blocks=out_blocks,
            size=out_size,
            activation=ACTIVATIONS[activation],
        )
        return target

    def constant(self, row: Tensor) -> int:
        """Adds float32 [n] that are the same for every input; returns their place."""
        width = len(row) + -len(row) % LANES
        place = self.place(width)
        address = self.keep(pad(row, (0, width - len(row))))
        self.write(ops.fill_rows, place, place, row=address, columns=width)
        return place

    def rule(self, chooser: Chooser, gate: int, blocks: int, scores: int) -> None:
        """Adds what makes a gate's mask of the scores at a place, whole vectors a row."""
        columns = mixed_size(blocks) if chooser.rule == MIXED else blocks
        numbers = {"gate": gate, "blocks": blocks, "row_distance": columns + -columns % LANES}
        numbers |= {"num_kept": chooser.num_kept, "millionths": round(1e6 * chooser.low)}
        if chooser.rule == "sampled_k":
            self.write(ops.gumbel, scores, scores, **numbers)
        self.write(RULES[chooser.rule], scores, 0, **numbers)


def padded(layer: Affine) -> Affine:
    """Adds outputs of zero up to a whole vector: narrow layers run as fast as wide ones."""
    extra = -len(layer.weight) % LANES
    return Affine(
        pad(layer.weight.detach(), (0, 0, 0, extra)),
        None if layer.bias is None else pad(layer.bias.detach(), (0, extra)),
        layer.activation,
        tuple(replace(table, rows=pad(table.rows.detach(), (0, extra))) for table in layer.tables),
    )


def filled_size(size: int) -> int:
    """Units of a block of `size` after padding."""
    return size + -size % QUARTER


def with_zeros(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Adds zeros behind each block of `size` along a dimension, up to a multiple of `QUARTER`.

    >>> with_zeros(Tensor([1, 1, 1, 1, 1, 1]), 0, 3)
    tensor([1., 1., 1., 0., 1., 1., 1., 0.])
    """
    blocks = tensor.detach().unflatten(dim, (-1, size))
    behind = [0, 0] * (blocks.ndim - dim - 2)
    return pad(blocks, (*behind, 0, filled_size(size) - size)).flatten(dim, dim + 1)
