"""Maps of embedded symbols as instructions: (embeddings, an affine map) -> tables of a program.

An affine map of embeddings side by side is a sum over places of one row each, of a table of as many
rows as there are symbols: `folded` makes them. They take more memory than the weights. What
computes all blocks is up to two times faster so; a few blocks of many are not, since the rows that
they read lie far apart: there, and for large tables, embeddings are looked up and multiplied.
"""

import torch
from torch import Tensor

from ccenv.deploy.fused import program as ops
from ccenv.deploy.fused.writer import ACTIVATIONS, Writer
from ccenv.mdp.choosers import ListChooser
from ccenv.networks.core.lowering import Affine, Embed

MOST_FOLDED, MOST_FOLDED_IN_BLOCKS = 1 << 24, 1 << 19
"""Bytes of the tables of one map: what the last cache holds, and what one near to a core holds."""


def is_folded(found: Affine, embeddings: Tensor, mask: int) -> bool:
    """Whether a map of embeddings [num_symbols, size] becomes a sum of rows of tables.

    Args:
        found: the map, of the last places of a window.
        embeddings: side by side they are what it reads.
        mask: gated layer whose kept blocks alone are computed, or `NO_MASK`.
    """
    places = found.weight.shape[1] // embeddings.shape[1]
    table_bytes = 4 * len(found.weight) * places * len(embeddings)
    most = MOST_FOLDED if mask == ops.NO_MASK else MOST_FOLDED_IN_BLOCKS
    return table_bytes <= most and all(table.num_keys == 1 for table in found.tables)


def folded(found: Affine, embeddings: Tensor) -> Tensor:
    """Tables whose rows add up to a map's results: float64 [places, num_symbols, units]."""
    size = embeddings.shape[1]
    weight = found.weight.detach().double().unflatten(1, (-1, size))
    tables = torch.einsum("se,upe->psu", embeddings.detach().double(), weight)
    for more in (found.bias, *(table.rows for table in found.tables)):
        if more is not None:
            tables[-1] += more.detach()
    return tables


def write_sum(
    writer: Writer, stem: Embed, found: Affine, embeddings: Tensor, mask: int, blocks: int
) -> int:
    """Adds a map of symbols as a sum of rows; returns the place of its result.

    Args:
        writer: of the program.
        stem: what windows there are.
        found: the map.
        embeddings: what it reads, see `is_folded`.
        mask: gated layer whose kept blocks alone are computed, or `NO_MASK`.
        blocks: of the result.
    """
    tables = folded(found, embeddings).unflatten(2, (blocks, -1)).permute(2, 0, 1, 3)
    place, places = writer.place(len(found.weight)), tables.shape[1]
    writer.write(
        ops.sum_rows,
        ops.IMAGES,
        place,
        gate=mask,
        blocks=blocks,
        window=stem.window,
        place=stem.window - places,
        places=places,
        num_symbols=stem.num_symbols,
        table=writer.keep(tables),
        size=tables.shape[3],
        activation=ACTIVATIONS[found.activation],
    )
    return place


def write_look_up(writer: Writer, stem: Embed, embeddings: Tensor, places: int) -> int:
    """Adds a look-up of the last symbols' embeddings; returns the place where they lie."""
    size = embeddings.shape[1]
    place, first = writer.place(places * size), stem.window - places
    numbers = {"window": stem.window, "place": first, "places": places, "size": size}
    numbers["table"] = writer.keep(embeddings)
    writer.write(ops.look_up_rows, ops.IMAGES, place, **numbers)
    return place


def write_rows(
    writer: Writer, stem: Embed, found: Affine, place: int, mask: int, blocks: int
) -> None:
    """Adds rows of a map's tables to what lies at a place, then applies its activation.

    Args:
        writer: of the program.
        stem: what windows there are.
        found: the map, without tables nothing is added.
        place: of float32 [rows, units].
        mask: gated layer whose kept blocks alone are changed, or `NO_MASK`.
        blocks: of the units.
    """
    for number, table in enumerate(found.tables, 1):
        activation = found.activation if number == len(found.tables) else None
        numbers = {"gate": mask, "blocks": blocks, "window": stem.window}
        numbers |= {"num_keys": table.num_keys, "num_symbols": table.num_symbols}
        numbers |= {"table": writer.keep(table.rows), "size": table.rows.shape[1] // blocks}
        code = ACTIVATIONS[activation]
        writer.write(ops.add_entries, ops.IMAGES, place, **numbers, activation=code)


def check_embeddings(embeddings: Tensor, columns: int, stem: Embed) -> None:
    """Refuses a map that does not read the embeddings of a window's last symbols."""
    symbols, size = embeddings.shape
    if symbols != stem.num_symbols or columns % size or not 1 <= columns // size <= stem.window:
        raise ValueError(
            f"expected embeddings of {stem.num_symbols} symbols and a map of those of 1 to "
            f"{stem.window} places, got {symbols} of {size} numbers and {columns} columns"
        )


def write_lists(writer: Writer, stem: Embed, chooser: ListChooser, gate: int, blocks: int) -> None:
    """Adds the instruction that looks a mask up."""
    lists, keys = chooser.lists, chooser.num_keys
    entries, kept = lists.shape
    fits = (
        chooser.num_symbols == stem.num_symbols
        and 1 <= keys <= stem.window
        and entries == stem.num_symbols**keys
        and bool(((lists >= 0) & (lists < blocks)).all())
    )
    if not fits:
        raise ValueError(
            f"expected lists of blocks 0 to {blocks - 1} for each of {stem.num_symbols} symbols "
            f"to the power of 1 to {stem.window}, got {entries} lists of {keys} symbols"
        )
    numbers = {"window": stem.window, "num_keys": keys, "num_symbols": stem.num_symbols}
    numbers |= {"table": writer.keep_integers(lists), "num_kept": kept}
    writer.write(ops.listed, ops.IMAGES, 0, gate=gate, blocks=blocks, **numbers)
