"""How a mask is chosen in a compiled call: a rule and its scores -> instructions of a program."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import pad

from ccenv.base.registry import check_names
from ccenv.deploy.fused import program as ops
from ccenv.deploy.fused.writer import LANES, Writer, filled, padded

RULES = {
    "top_k": ops.TOP_K,
    "drawn_k": ops.TOP_K,
    "likely": ops.LIKELY,
    "drawn": ops.DRAWN,
}
DRAWN_RULES = ("drawn_k", "drawn")


@dataclass(frozen=True)
class Chooser:
    """How the mask of one gated layer is chosen from what the policy looks at."""

    maps: Sequence[tuple[Tensor, Tensor | None]] | Tensor
    """affine maps (weight [out, in], bias [out] or None) from look to scores; or float32 [blocks],
    scores that are the same for every image."""
    rule: str = "likely"
    """"top_k" keeps the best k, "drawn_k" draws k one after the other with softmax probabilities
    (Kool, van Hoof, Welling 2019), "likely" keeps those of positive score, "drawn" each one with
    probability low + (1 - 2 low) sigmoid(score)."""
    num_kept: int = 1
    """k of "top_k" and "drawn_k"."""
    low: float = 0.0
    """lowest keep probability of "drawn", to a millionth."""
    activation: str = "tanh"
    """between two maps: "tanh" or "relu"."""
    embeddings: Tensor | None = None
    """float32 [symbols, size]: the maps read the rows of a window's last symbols, side by side;
    None: what the network offers."""

    @property
    def keeps_all(self) -> bool:
        """Whether every block is kept, whatever the image."""
        if not isinstance(self.maps, Tensor) or self.rule != "likely":
            return False
        return bool((self.maps > 0).all())

    def expected_share(self, blocks: int) -> float:
        """Share of the blocks that are kept, one half where that depends on the image."""
        if RULES.get(self.rule) == ops.TOP_K:
            return self.num_kept / blocks
        if not isinstance(self.maps, Tensor):
            return 0.5
        return float(
            (self.maps > 0 if self.rule == "likely" else self.maps.sigmoid()).float().mean()
        )


@dataclass(frozen=True)
class ListChooser:
    """How the mask of one gated layer is looked up: the last symbols name a list of blocks."""

    lists: Tensor
    """int64 [num_symbols ** num_keys, k]; blocks that are kept."""
    num_keys: int
    """how many of the last symbols name a list together, the last one counting least."""
    num_symbols: int
    """different symbols."""
    rule: str = "listed"
    """nothing is drawn."""
    keeps_all: bool = False
    """a list may leave blocks out."""


AnyChooser = Chooser | ListChooser


def check_rule(chooser: Chooser, blocks: int) -> None:
    """Refuses a rule that does not fit a gate of so many blocks.

    Raises:
        ValueError: if a name or number is impossible.
    """
    check_names([chooser.rule], RULES, "rule")
    check_names([chooser.activation], ("tanh", "relu"), "activation")
    if not 1 <= chooser.num_kept <= blocks:
        raise ValueError(f"expected num_kept in 1..{blocks}, got {chooser.num_kept}")


def write_chooser(
    writer: Writer,
    chooser: Chooser,
    layer: int,
    blocks: int,
    look: int,
    size: int,
    masks: tuple[int, int] = (ops.NO_MASK, 1),
    block_size: int = 0,
) -> None:
    """Adds the instructions that choose one layer's mask.

    Args:
        writer: of the program.
        chooser: how.
        layer: number of the gated layer.
        blocks: number of its blocks.
        look: place of what the policy looks at.
        size: floats of it.
        masks: layer whose mask zeroes the look, and its number of blocks.
        block_size: units of a block of the look, which lie there filled up; 0 of what has none.

    Raises:
        ValueError: if the maps do not lead from look to blocks, or a name is unknown.
    """
    check_rule(chooser, blocks)
    if chooser.embeddings is not None:
        raise ValueError("expected a chooser without embeddings for a network without symbols")
    if isinstance(chooser.maps, Tensor):
        look = write_constant(writer, chooser.maps, blocks)
    else:
        maps, between = chooser.maps, chooser.activation
        look = write_maps(writer, maps, between, blocks, look, size, masks, block_size)
    write_rule(writer, chooser, layer, blocks, look)


def write_rule(writer: Writer, chooser: Chooser, layer: int, blocks: int, look: int) -> None:
    """Adds the instructions that make a mask of the scores at a place, whole vectors a row."""
    width = -(-blocks // LANES) * LANES
    if chooser.rule == "drawn_k":
        writer.write(ops.GUMBEL, look, look, layer, blocks, width)
    extra = round(1e6 * chooser.low) if chooser.rule == "drawn" else chooser.num_kept
    writer.write(RULES[chooser.rule], look, 0, layer, blocks, width, extra)


def write_constant(writer: Writer, scores: Tensor, blocks: int) -> int:
    """Adds scores that are the same for every image; returns their place."""
    if scores.shape != (blocks,):
        raise ValueError(f"expected {blocks} scores, got {list(scores.shape)}")
    width = -(-blocks // LANES) * LANES
    place = writer.place(width)
    writer.write(ops.FILL, place, place, writer.keep(pad(scores, (0, width - blocks))), width)
    return place


def write_maps(
    writer: Writer,
    maps: Sequence[tuple[Tensor, Tensor | None]],
    between: str,
    blocks: int,
    look: int,
    size: int,
    masks: tuple[int, int],
    block_size: int,
) -> int:
    """Adds the maps from what the policy looks at to scores; returns the scores' place."""
    sizes = [size, *(weight.shape[0] for weight, _ in maps)]
    if [weight.shape[1] for weight, _ in maps] != sizes[:-1] or sizes[-1] != blocks:
        raise ValueError(
            f"expected maps from {size} features to {blocks} scores, got "
            f"{[(weight.shape[1], weight.shape[0]) for weight, _ in maps]}"
        )
    before, in_blocks = masks
    for step, (weight, bias) in enumerate(maps):
        is_last = step == len(maps) - 1
        if step == 0 and block_size:
            weight = filled(weight, 1, block_size)
        if is_last:
            weight, bias = padded(weight, bias)
        activation = None if is_last else between
        look = writer.layer(weight, bias, look, activation, (before, ops.NO_MASK), (in_blocks, 1))
        before, in_blocks = ops.NO_MASK, 1
    return look
