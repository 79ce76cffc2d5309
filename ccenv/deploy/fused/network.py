"""Programs for `ccenv.deploy.fused.program`: (operations, choosers) -> a table of instructions.

A policy's maps are affine operations as the network's own. Maps of embedded symbols may be look-ups
and additions alone, see `ccenv.deploy.fused.symbol_maps`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ccenv.deploy.fused import program as ops
from ccenv.deploy.fused.symbol_maps import (
    check_embeddings,
    is_folded,
    write_lists,
    write_look_up,
    write_rows,
    write_sum,
)
from ccenv.deploy.fused.writer import QUARTER, Writer, filled, filled_size, padded
from ccenv.mdp.choosers import AnyChooser, Chooser, ListChooser, check_maps, check_rule
from ccenv.mdp.observations import LAST_SYMBOLS, pool_window
from ccenv.networks.core.lowering import Affine, Blocks, Embed, Operation
from ccenv.sparse.routes import pair_macs


@dataclass(frozen=True)
class Hidden:
    """What the next operation reads."""

    place: int = ops.IMAGES
    """where it begins in the workspace."""
    mask: int = ops.NO_MASK
    """gated layer whose skipped blocks were not written there."""
    blocks: int = 1
    """its number of blocks."""
    filled: int = 0
    """units of a block that lies there filled up; 0 where nothing is."""
    embeddings: Tensor | None = None
    """a table of symbols [num_symbols, size] whose rows stand side by side; none lies there yet."""


class NetworkWriter:
    """Writes the program of a network; arguments as those of `FusedClassifier`."""

    def __init__(
        self,
        operations: Sequence[Embed | Affine],
        choosers: Sequence[AnyChooser] | None,
        observation: str,
        image_shape: tuple[int, ...] | None,
        keep_all: bool,
    ) -> None:
        self.writer, self.operations, self.choosers = Writer(), operations, choosers
        self.observation, self.image_shape, self.keep_all = observation, image_shape, keep_all
        self.gates = [found for found in operations if isinstance(found, Blocks)]

    @property
    def stem(self) -> Embed:
        """What reads the symbols."""
        first = self.operations[0]
        if not isinstance(first, Embed):
            raise ValueError("expected a chooser without embeddings for a network without symbols")
        return first

    def write(self) -> Writer:
        """Writes the whole network."""
        hidden, gate = Hidden(), 0
        for found in self.operations:
            if isinstance(found, Embed):
                symbols = {"num_symbols": found.num_symbols, "window": found.window}
                self.writer.write(ops.check, ops.IMAGES, 0, **symbols)
                (table,) = found.tensors()
                hidden = Hidden(embeddings=table)
            elif isinstance(found, Blocks):
                hidden, gate = self.gated(found, gate, hidden), gate + 1
            elif found is not self.operations[-1]:
                hidden = Hidden(self.layer(found, hidden))
            else:
                self.logits(found, hidden)
        return self.writer

    def gated(self, found: Blocks, gate: int, hidden: Hidden) -> Hidden:
        """Adds what chooses a gate's mask, and the gate's layer."""
        chooser = None if self.choosers is None else self.choosers[gate]
        if chooser is not None:
            self.choose(chooser, gate, hidden)
        if self.keep_all or (chooser is not None and chooser.keeps_all):
            return Hidden(self.layer(found, hidden))
        if hidden.embeddings is None and is_whole(self.operations, gate, self.choosers):
            place = self.layer(found, hidden)
            numbers = {"gate": gate, "blocks": found.num_blocks, "size": found.size}
            self.writer.write(ops.blank, place, place, **numbers)
            return Hidden(place)
        wide = replace(
            found,
            weight=filled(found.weight, 0, found.size),
            bias=None if found.bias is None else filled(found.bias, 0, found.size),
            tables=tuple(replace(t, rows=filled(t.rows, 1, found.size)) for t in found.tables),
        )
        place = self.layer(wide, hidden, gate, found.num_blocks)
        return Hidden(place, gate, found.num_blocks, found.size)

    def logits(self, found: Affine, hidden: Hidden) -> None:
        """Adds the last layer."""
        count = len(found.weight)
        wide = padded(found)
        target = ops.LOGITS if len(wide.weight) == count else None
        place = self.layer(wide, hidden, target=target)
        if target is None:
            numbers = {"row_distance": len(wide.weight), "columns": count}
            self.writer.write(ops.copy, place, ops.LOGITS, **numbers)

    def layer(
        self,
        found: Affine,
        hidden: Hidden,
        mask: int = ops.NO_MASK,
        blocks: int = 1,
        target: int | None = None,
    ) -> int:
        """Adds a map of which a mask's blocks are computed; returns the place of its units."""
        writer, weight, before = self.writer, found.weight, hidden
        if hidden.embeddings is not None:
            if is_folded(found, hidden.embeddings, mask):
                return write_sum(writer, self.stem, found, hidden.embeddings, mask, blocks)
            places = weight.shape[1] // hidden.embeddings.shape[1]
            before = Hidden(write_look_up(writer, self.stem, hidden.embeddings, places))
        if before.filled:
            weight = filled(weight, 1, before.filled)
        now = None if found.tables else found.activation
        masks, numbers = (before.mask, mask), (before.blocks, blocks)
        place = writer.layer(weight, found.bias, before.place, now, masks, numbers, target)
        if found.tables:
            write_rows(writer, self.stem, found, place, mask, blocks)
        return place

    def choose(self, chooser: AnyChooser, gate: int, hidden: Hidden) -> None:
        """Adds what chooses a gate's mask."""
        found = self.gates[gate]
        if isinstance(chooser, ListChooser):
            write_lists(self.writer, self.stem, chooser, gate, found.num_blocks)
            return
        check_rule(chooser, found.num_blocks)
        seen, look = hidden, found.look
        if chooser.embeddings is not None:
            seen = Hidden(embeddings=chooser.embeddings)
        elif isinstance(chooser.maps, Tensor):
            seen = Hidden()
        elif self.observation == LAST_SYMBOLS:
            seen = Hidden(embeddings=torch.arange(self.stem.num_symbols).float()[:, None])
        elif self.observation == "summary":
            seen, look = self.summary(gate, hidden)
        if seen.embeddings is not None:
            look = 0 if isinstance(chooser.maps, Tensor) else chooser.maps[0][0].shape[1]
            check_embeddings(seen.embeddings, look, self.stem)
        check_maps(chooser, look, found.num_blocks)
        scores = self.scores(chooser, seen)
        self.writer.rule(chooser, gate, found.num_blocks, scores)

    def scores(self, chooser: Chooser, seen: Hidden) -> int:
        """Adds the scores of a gate's blocks, whole vectors a row; returns their place."""
        if isinstance(chooser.maps, Tensor):
            return self.writer.constant(chooser.maps)
        *before, (weight, bias) = chooser.maps
        for step in before:
            seen = Hidden(self.layer(Affine(*step, chooser.activation), seen))
        return self.layer(padded(Affine(weight, bias)), seen)

    def summary(self, gate: int, hidden: Hidden) -> tuple[Hidden, int]:
        """Adds the cheap look at a gate; with its number of floats."""
        assert self.image_shape is not None
        channels, height, width = self.image_shape
        windows = [pool_window(side) for side in (height, width)]
        sides = zip((height, width), windows, strict=True)
        pooled = channels * math.prod(-(-side // window) for side, window in sides)
        norms = self.gates[gate - 1].num_blocks if gate else 0
        place, size = self.writer.place(pooled + norms), pooled + norms
        sizes = {"channels": channels, "height": height, "width": width}
        sizes |= {"down": windows[0], "across": windows[1], "row_distance": size}
        self.writer.write(ops.pool, ops.IMAGES, place, **sizes)
        if gate:
            units = self.gates[gate - 1].size
            apart = filled_size(units) if hidden.filled else units
            sizes = {"blocks": norms, "size": units, "apart": apart, "row_distance": size}
            self.writer.write(ops.norms, hidden.place, place, gate=gate - 1, column=pooled, **sizes)
        return Hidden(place), size


def is_whole(
    operations: Sequence[Operation], gate: int, choosers: Sequence[AnyChooser] | None
) -> bool:
    """Whether a gated layer is computed whole, with zeros put where blocks were not kept.

    Only blocks of less than a quarter of a vector, which take the time of a quarter, where the
    kernels are expected to take longer; never with weights that a zero does not keep out.
    """
    maps = [found for found in operations if isinstance(found, Affine)]
    found, behind = maps[gate : gate + 2]
    assert isinstance(found, Blocks)
    if found.size >= QUARTER or not all_finite(maps, choosers):
        return False
    chooser = None if choosers is None else choosers[gate]
    share = chooser.expected_share(found.num_blocks) if isinstance(chooser, Chooser) else 0.5
    (units, before), after = found.weight.shape, len(behind.weight)
    pairs = sum(pair_macs(side, filled_size(found.size)) for side in (before, after))
    return share * found.num_blocks * pairs > units * (before + after)


def all_finite(maps: Sequence[Affine], choosers: Sequence[AnyChooser] | None) -> bool:
    """Whether no weight of a network and of the maps that look at it is infinite or NaN."""
    tensors = [tensor for found in maps for tensor in found.tensors()]
    for chooser in choosers or ():
        if isinstance(chooser, Chooser) and not isinstance(chooser.maps, Tensor):
            tensors += [weight for weight, _ in chooser.maps]
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
