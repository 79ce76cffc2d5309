"""Maps of embedded symbols as instructions: (embeddings, weight) -> tables of a program.

An affine map of embeddings side by side is a sum over places of one row each, of a table of as many
rows as there are symbols: `folded` makes them. They take more memory than the weights. What
computes all blocks is up to two times faster so; a few blocks of many are not, since the rows that
they read lie far apart: there, and for large tables, embeddings are looked up and multiplied.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ccenv.deploy.fused import program as ops
from ccenv.deploy.fused.choosers import Chooser, ListChooser, check_rule, write_maps, write_rule
from ccenv.deploy.fused.writer import ACTIVATIONS, Writer, padded

MOST_FOLDED, MOST_FOLDED_IN_BLOCKS = 1 << 24, 1 << 19
"""Bytes of the tables of one map: what the last cache holds, and what one near to a core holds."""


@dataclass(frozen=True)
class Windows:
    """What a program of symbols reads."""

    length: int
    """symbols of a window."""
    num_symbols: int
    """different ones."""


@dataclass(frozen=True)
class EmbeddedMap:
    """An affine map of the embeddings of the last symbols."""

    embeddings: Tensor
    """[num_symbols, size]."""
    weight: Tensor
    """[units, places * size]; the last places of a window."""
    bias: Tensor | None = None
    """[units]."""
    by_last: Tensor | None = None
    """[num_symbols, units]; what the last symbol adds."""
    activation: str | None = None
    """of the result."""

    @property
    def places(self) -> int:
        """How many of the last symbols are read."""
        return self.weight.shape[1] // self.embeddings.shape[1]

    @property
    def table_bytes(self) -> int:
        """Of the tables, if they were made."""
        return 4 * len(self.weight) * self.places * len(self.embeddings)


def folded(found: EmbeddedMap) -> Tensor:
    """Tables whose rows add up to a map's results: float64 [places, num_symbols, units]."""
    embeddings = found.embeddings.detach().double()
    weight = found.weight.detach().double().unflatten(1, (found.places, -1))
    tables = torch.einsum("se,upe->psu", embeddings, weight)
    for more in (found.bias, found.by_last):
        if more is not None:
            tables[-1] += more.detach()
    return tables


def write_map(
    writer: Writer, windows: Windows, found: EmbeddedMap, mask: int = ops.NO_MASK, blocks: int = 1
) -> int:
    """Adds a map of symbols; returns the place of its result.

    Args:
        writer: of the program.
        windows: what it reads.
        found: the map.
        mask: gated layer whose kept blocks alone are computed, or `NO_MASK`.
        blocks: of the result.
    """
    if found.table_bytes > (MOST_FOLDED if mask == ops.NO_MASK else MOST_FOLDED_IN_BLOCKS):
        return write_products(writer, windows, found, mask, blocks)
    tables = folded(found).unflatten(2, (blocks, -1)).permute(2, 0, 1, 3)
    place = writer.place(len(found.weight))
    writer.write(
        ops.SUM_TABLES,
        ops.IMAGES,
        place,
        mask,
        blocks,
        windows.length,
        windows.length - found.places,
        found.places,
        windows.num_symbols,
        writer.keep(tables),
        tables.shape[3],
        ACTIVATIONS[found.activation],
    )
    return place


def write_products(
    writer: Writer, windows: Windows, found: EmbeddedMap, mask: int, blocks: int
) -> int:
    """The same by products of embeddings that are looked up."""
    size = found.embeddings.shape[1]
    place = writer.place(found.weight.shape[1])
    first = windows.length - found.places
    table = writer.keep(found.embeddings)
    numbers = (ops.NO_MASK, 1, windows.length, first, found.places, table, size)
    writer.write(ops.LOOK_UP, ops.IMAGES, place, *numbers)
    now = None if found.by_last is not None else found.activation
    masks, sides = (ops.NO_MASK, mask), (1, blocks)
    place = writer.layer(found.weight, found.bias, place, now, masks, sides)
    if found.by_last is not None:
        write_rows(writer, windows, found.by_last, 1, place, mask, blocks, found.activation)
    return place


def write_rows(
    writer: Writer,
    windows: Windows,
    table: Tensor,
    num_keys: int,
    place: int,
    mask: int = ops.NO_MASK,
    blocks: int = 1,
    activation: str | None = None,
) -> None:
    """Adds a row that the last symbols name to what lies at a place, then its activation.

    Args:
        writer: of the program.
        windows: what it reads.
        table: [num_symbols ** num_keys, units].
        num_keys: how many symbols name a row together.
        place: of float32 [rows, units].
        mask: gated layer whose kept blocks alone are changed, or `NO_MASK`.
        blocks: of the units.
        activation: of the sum.
    """
    at, size = writer.keep(table), table.shape[1] // blocks
    numbers = (mask, blocks, windows.length, num_keys, windows.num_symbols, at, size)
    writer.write(ops.ADD_ROWS, ops.IMAGES, place, *numbers, ACTIVATIONS[activation])


def write_embedded_chooser(
    writer: Writer, windows: Windows, chooser: Chooser, layer: int, blocks: int
) -> None:
    """Adds the instructions that choose a mask by the last symbols' embeddings.

    Args:
        writer: of the program.
        windows: what it reads.
        chooser: with embeddings.
        layer: number of the gated layer.
        blocks: of it.

    Raises:
        ValueError: if its maps do not lead from the last symbols to the blocks.
    """
    check_rule(chooser, blocks)
    check_embeddings(chooser, windows, blocks)
    assert chooser.embeddings is not None
    assert not isinstance(chooser.maps, Tensor)
    (weight, bias), *others = chooser.maps
    units = len(weight)
    if not others:
        weight, bias = padded(weight, bias)
    between = chooser.activation if others else None
    place = write_map(
        writer, windows, EmbeddedMap(chooser.embeddings, weight, bias, activation=between)
    )
    if others:
        unmasked = (ops.NO_MASK, 1)
        place = write_maps(
            writer, others, chooser.activation, blocks, place, units, unmasked, block_size=0
        )
    write_rule(writer, chooser, layer, blocks, place)


def check_embeddings(chooser: Chooser, windows: Windows, blocks: int) -> None:
    """Refuses maps that do not lead from the last symbols' embeddings to the blocks.

    Raises:
        ValueError: saying what they lead from and to.
    """
    assert chooser.embeddings is not None
    symbols, size = chooser.embeddings.shape
    sizes = [] if isinstance(chooser.maps, Tensor) else [m.shape for m, _ in chooser.maps]
    seen = sizes[0][1] if sizes else 0
    if symbols != windows.num_symbols or seen % size or not 1 <= seen // size <= windows.length:
        raise ValueError(
            f"expected embeddings of {windows.num_symbols} symbols and a map of those of 1 to "
            f"{windows.length} places, got {symbols} of {size} numbers and {seen} columns"
        )
    if len(sizes) == 1 and sizes[0][0] != blocks:
        raise ValueError(f"expected a map to {blocks} scores, got {sizes[0][0]}")


def write_lists(
    writer: Writer, windows: Windows, chooser: ListChooser, layer: int, blocks: int
) -> None:
    """Adds the instruction that looks a mask up.

    Args:
        writer: of the program.
        windows: what it reads.
        chooser: the lists.
        layer: number of the gated layer.
        blocks: of it.

    Raises:
        ValueError: if the lists do not fit symbols and blocks.
    """
    lists, keys = chooser.lists, chooser.num_keys
    entries, kept = lists.shape
    fits = (
        chooser.num_symbols == windows.num_symbols
        and 1 <= keys <= windows.length
        and entries == windows.num_symbols**keys
        and bool(((lists >= 0) & (lists < blocks)).all())
    )
    if not fits:
        raise ValueError(
            f"expected lists of blocks 0 to {blocks - 1} for each of {windows.num_symbols} symbols "
            f"to the power of 1 to {windows.length}, got {entries} lists of {keys} symbols"
        )
    numbers = (keys, windows.num_symbols, writer.keep_integers(lists), kept)
    writer.write(ops.LISTED, ops.IMAGES, 0, layer, blocks, windows.length, *numbers)
