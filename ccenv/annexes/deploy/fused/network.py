"""Programs for `fused.program`: (operations, choosers) -> a table of instructions.

A policy's maps are affine operations as the network's own.

An affine map of embeddings side by side is a sum over places of one row each, of a table of as many
rows as there are symbols: look-ups and additions alone. The tables take more memory than the
weights. What computes all blocks is up to two times faster so; a few blocks of many are not, since
the rows that they read lie far apart: there, and for large tables, embeddings are looked up and
multiplied.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ccenv.annexes.deploy.fused import program as ops
from ccenv.annexes.deploy.fused.writer import (
    ACTIVATIONS,
    QUARTER,
    Writer,
    filled_size,
    padded,
    with_zeros,
)
from ccenv.mdp.choosers import AnyChooser, Chooser, ListChooser, check_maps, check_rule
from ccenv.mdp.observations import LAST_SYMBOLS, pool_window
from ccenv.networks.core.lowering import Affine, Blocks, Embed, Operation
from ccenv.sparse.routes import pair_macs

MOST_FOLDED, MOST_FOLDED_IN_BLOCKS = 1 << 24, 1 << 19
"""Bytes of the tables of one map: what the last cache holds, and what one near to a core holds."""


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
        self.gates = [operation for operation in operations if isinstance(operation, Blocks)]

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
        for operation in self.operations:
            if isinstance(operation, Embed):
                symbols = {"num_symbols": operation.num_symbols, "window": operation.window}
                self.writer.write(ops.check, ops.IMAGES, 0, **symbols)
                (table,) = operation.tensors()
                hidden = Hidden(embeddings=table)
            elif isinstance(operation, Blocks):
                hidden, gate = self.gated(operation, gate, hidden), gate + 1
            elif operation is not self.operations[-1]:
                hidden = Hidden(self.layer(operation, hidden))
            else:
                self.logits(operation, hidden)
        return self.writer

    def gated(self, blocks: Blocks, gate: int, hidden: Hidden) -> Hidden:
        """Adds what chooses a gate's mask, and the gate's layer."""
        chooser = None if self.choosers is None else self.choosers[gate]
        if chooser is not None:
            self.choose(chooser, gate, hidden)
        if self.keep_all or (chooser is not None and chooser.keeps_all):
            return Hidden(self.layer(blocks, hidden))
        if hidden.embeddings is None and is_whole(self.operations, gate, self.choosers):
            place = self.layer(blocks, hidden)
            numbers = {"gate": gate, "blocks": blocks.num_blocks, "size": blocks.size}
            self.writer.write(ops.blank_skipped, place, place, **numbers)
            return Hidden(place)
        wide = replace(
            blocks,
            weight=with_zeros(blocks.weight, 0, blocks.size),
            bias=None if blocks.bias is None else with_zeros(blocks.bias, 0, blocks.size),
            tables=tuple(
                replace(t, rows=with_zeros(t.rows, 1, blocks.size)) for t in blocks.tables
            ),
        )
        place = self.layer(wide, hidden, gate, blocks.num_blocks)
        return Hidden(place, gate, blocks.num_blocks, blocks.size)

    def logits(self, last: Affine, hidden: Hidden) -> None:
        """Adds the last layer."""
        count, wide = len(last.weight), padded(last)
        target = ops.LOGITS if len(wide.weight) == count else None
        place = self.layer(wide, hidden, target=target)
        if target is None:
            numbers = {"row_distance": len(wide.weight), "columns": count}
            self.writer.write(ops.copy, place, ops.LOGITS, **numbers)

    def layer(
        self,
        layer: Affine,
        hidden: Hidden,
        mask: int = ops.NO_MASK,
        blocks: int = 1,
        target: int | None = None,
    ) -> int:
        """Adds a map of which a mask's blocks are computed; returns the place of its units."""
        weight, before = layer.weight, hidden
        if hidden.embeddings is not None:
            if is_folded(layer, hidden.embeddings, mask):
                return self.sum_of_rows(layer, hidden.embeddings, mask, blocks)
            before = Hidden(self.looked_up(hidden.embeddings, weight.shape[1]))
        if before.filled:
            weight = with_zeros(weight, 1, before.filled)
        now = None if layer.tables else layer.activation
        masks, numbers = (before.mask, mask), (before.blocks, blocks)
        place = self.writer.layer(weight, layer.bias, before.place, now, masks, numbers, target)
        # Rows of the map's tables are added to what lies there now.
        for number, table in enumerate(layer.tables, 1):
            activation = layer.activation if number == len(layer.tables) else None
            self.writer.write(
                ops.add_entries,
                ops.IMAGES,
                place,
                gate=mask,
                blocks=blocks,
                window=self.stem.window,
                num_keys=table.num_keys,
                num_symbols=table.num_symbols,
                table=self.writer.keep(table.rows),
                size=table.rows.shape[1] // blocks,
                activation=ACTIVATIONS[activation],
            )
        return place

    def sum_of_rows(self, layer: Affine, embeddings: Tensor, mask: int, blocks: int) -> int:
        """Adds a map of embeddings as a sum of rows of tables; returns the place of its units."""
        weight = layer.weight.detach().double().unflatten(1, (-1, embeddings.shape[1]))
        rows = torch.einsum("se,upe->psu", embeddings.detach().double(), weight)
        for more in (layer.bias, *(table.rows for table in layer.tables)):
            if more is not None:
                rows[-1] += more.detach()
        tables = rows.unflatten(2, (blocks, -1)).permute(2, 0, 1, 3)
        place, places = self.writer.place(len(layer.weight)), len(rows)
        self.writer.write(
            ops.add_up_rows,
            ops.IMAGES,
            place,
            gate=mask,
            blocks=blocks,
            window=self.stem.window,
            place=self.stem.window - places,
            places=places,
            num_symbols=self.stem.num_symbols,
            table=self.writer.keep(tables),
            size=tables.shape[3],
            activation=ACTIVATIONS[layer.activation],
        )
        return place

    def looked_up(self, embeddings: Tensor, columns: int) -> int:
        """Adds a look-up of the last symbols' embeddings; returns the place where they lie."""
        size = embeddings.shape[1]
        places, place = columns // size, self.writer.place(columns)
        numbers = {"window": self.stem.window, "place": self.stem.window - places}
        numbers |= {"places": places, "size": size, "table": self.writer.keep(embeddings)}
        self.writer.write(ops.look_up_rows, ops.IMAGES, place, **numbers)
        return place

    def choose(self, chooser: AnyChooser, gate: int, hidden: Hidden) -> None:
        """Adds what chooses a gate's mask."""
        blocks = self.gates[gate]
        if isinstance(chooser, ListChooser):
            self.choose_by_lists(chooser, gate, blocks.num_blocks)
            return
        check_rule(chooser, blocks.num_blocks)
        seen, look = hidden, blocks.look
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
        check_maps(chooser, look, blocks.num_blocks)
        if isinstance(chooser.maps, Tensor):
            scores = self.writer.constant(chooser.maps)
        else:
            *before, (weight, bias) = chooser.maps
            for step in before:
                seen = Hidden(self.layer(Affine(*step, chooser.activation), seen))
            scores = self.layer(padded(Affine(weight, bias)), seen)
        self.writer.rule(chooser, gate, blocks.num_blocks, scores)

    def choose_by_lists(self, chooser: ListChooser, gate: int, blocks: int) -> None:
        """Adds the instruction that looks a mask up."""
        stem, lists, keys = self.stem, chooser.lists, chooser.num_keys
        entries, kept = lists.shape
        fits = (
            chooser.num_symbols == stem.num_symbols
            and 1 <= keys <= stem.window
            and entries == stem.num_symbols**keys
            and bool(((lists >= 0) & (lists < blocks)).all())
        )
        if not fits:
            raise ValueError(
                f"expected lists of blocks 0 to {blocks - 1} for each of {stem.num_symbols} "
                f"symbols to the power of 1 to {stem.window}, got {entries} lists of {keys} symbols"
            )
        numbers = {"window": stem.window, "num_keys": keys, "num_symbols": stem.num_symbols}
        numbers |= {"table": self.writer.keep(lists, torch.int64), "num_kept": kept}
        self.writer.write(ops.listed, ops.IMAGES, 0, gate=gate, blocks=blocks, **numbers)

    def summary(self, gate: int, hidden: Hidden) -> tuple[Hidden, int]:
        """Adds the cheap look at a gate; with its number of floats."""
        assert self.image_shape is not None
        channels, height, width = self.image_shape
        down, across = pool_window(height), pool_window(width)
        pooled = channels * math.ceil(height / down) * math.ceil(width / across)
        norms = self.gates[gate - 1].num_blocks if gate else 0
        place, size = self.writer.place(pooled + norms), pooled + norms
        sizes = {"channels": channels, "height": height, "width": width}
        sizes |= {"down": down, "across": across, "row_distance": size}
        self.writer.write(ops.pool_windows, ops.IMAGES, place, **sizes)
        if gate:
            units = self.gates[gate - 1].size
            apart = filled_size(units) if hidden.filled else units
            sizes = {"blocks": norms, "size": units, "apart": apart, "row_distance": size}
            self.writer.write(ops.norms, hidden.place, place, gate=gate - 1, column=pooled, **sizes)
        return Hidden(place), size


def is_folded(layer: Affine, embeddings: Tensor, mask: int) -> bool:
    """Whether a map of embeddings [num_symbols, size] becomes a sum of rows of tables."""
    places = layer.weight.shape[1] // embeddings.shape[1]
    table_bytes = 4 * len(layer.weight) * places * len(embeddings)
    most = MOST_FOLDED if mask == ops.NO_MASK else MOST_FOLDED_IN_BLOCKS
    return table_bytes <= most and all(table.num_keys == 1 for table in layer.tables)


def check_embeddings(embeddings: Tensor, columns: int, stem: Embed) -> None:
    """Refuses a map that does not read the embeddings of a window's last symbols."""
    symbols, size = embeddings.shape
    if symbols != stem.num_symbols or columns % size or not 1 <= columns // size <= stem.window:
        raise ValueError(
            f"expected embeddings of {stem.num_symbols} symbols and a map of those of 1 to "
            f"{stem.window} places, got {symbols} of {size} numbers and {columns} columns"
        )


def is_whole(
    operations: Sequence[Operation], gate: int, choosers: Sequence[AnyChooser] | None
) -> bool:
    """Whether a gated layer is computed whole, with zeros put where blocks were not kept.

    Only blocks of less than a quarter of a vector, which take the time of a quarter, where the
    kernels are expected to take longer; never with weights that a zero does not keep out.
    """
    maps = [operation for operation in operations if isinstance(operation, Affine)]
    gated, behind = maps[gate : gate + 2]
    assert isinstance(gated, Blocks)
    weights = [tensor for one in maps for tensor in one.tensors()]
    for one in choosers or ():
        if isinstance(one, Chooser) and not isinstance(one.maps, Tensor):
            weights += [weight for weight, _ in one.maps]
    if gated.size >= QUARTER or not all(bool(tensor.isfinite().all()) for tensor in weights):
        return False
    chooser = None if choosers is None else choosers[gate]
    share = chooser.expected_share(gated.num_blocks) if isinstance(chooser, Chooser) else 0.5
    (units, before), after = gated.weight.shape, len(behind.weight)
    pairs = sum(pair_macs(side, filled_size(gated.size)) for side in (before, after))
    return share * gated.num_blocks * pairs > units * (before + after)
