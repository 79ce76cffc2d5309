"""What choosers say outside of a compiled call: (features before a gate) -> scores and masks."""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ccenv.base.masks import mask_of_indices
from ccenv.deploy.fused.choosers import Chooser, check_rule
from ccenv.networks.core.one_row import OneRow
from ccenv.networks.core.stage import LAST, LOOK_SIDE, Stage, is_channels_last, is_even

TINY, ALMOST_ONE = 1e-20, 1 - 1e-7
"""Between them a logarithm of a logarithm is finite."""


class GateScores:
    """Scores of the gates of single rows, as fast as they come."""

    def __init__(self, one: OneRow, choosers: Sequence[Chooser], example: Tensor) -> None:
        """Prepares the maps.

        Args:
            one: the network.
            choosers: one for each gate.
            example: an input [1, ...]; only its shape and dtype matter.

        Raises:
            ValueError: if choosers do not fit the gates.
        """
        self.one, self.choosers = one, choosers
        self.spread: list[Spread | None] = []
        if len(choosers) != len(one.gated):
            raise ValueError(f"expected {len(one.gated)} choosers, got {len(choosers)}")
        with torch.no_grad():
            one(example, self._prepare)

    def _prepare(self, gate: int, x: Tensor, early: Tensor | None) -> bool:
        chooser, part = self.choosers[gate], self.one.gated[gate]
        seen, blocks = self.one.look(gate, x, early).shape[1], part_blocks(part)
        check_chooser(chooser, seen, blocks)
        can_spread = (
            blocks == 1
            and not isinstance(chooser.maps, Tensor)
            and len(chooser.maps) == 1
            and getattr(type(part), "look", None) is Stage.look
            and is_channels_last(x)
            and is_even(x)
        )
        self.spread.append(Spread(chooser, x) if can_spread else None)
        return True

    def __call__(self, gate: int, x: Tensor, early: Tensor | None) -> float:
        """Score of a gate of one block."""
        spread = self.spread[gate]
        if spread is None or x.shape != spread.shape or not x.is_contiguous(memory_format=LAST):
            return float(self.all_of(gate, x, early))
        return float(spread.score(x.data_ptr(), *spread.where)) + spread.bias

    def all_of(self, gate: int, x: Tensor, early: Tensor | None) -> Tensor:
        """Scores of a gate's blocks: [1, num_blocks]."""
        chooser = self.choosers[gate]
        if isinstance(chooser.maps, Tensor):
            return chooser.maps[None]
        return scores_of(chooser, self.one.look(gate, x, early))


def part_blocks(part: object) -> int:
    """Blocks of a stage or an exit."""
    return part.num_blocks if isinstance(part, Stage) else 1


def check_chooser(chooser: Chooser, look_size: int, blocks: int) -> None:
    """Refuses a chooser that does not fit its gate.

    Raises:
        ValueError: if its maps do not lead from look to blocks, or a name or number is impossible.
    """
    check_rule(chooser, blocks)
    if isinstance(chooser.maps, Tensor):
        sizes, expected = [list(chooser.maps.shape)], [[blocks]]
    else:
        sizes = [[weight.shape[1], weight.shape[0]] for weight, _ in chooser.maps]
        ends = [look_size, *(weight.shape[0] for weight, _ in chooser.maps[:-1]), blocks]
        expected = [list(pair) for pair in itertools.pairwise(ends)]
    if sizes != expected:
        raise ValueError(
            f"expected maps from {look_size} features to {blocks} scores, {expected}, got {sizes}"
        )


class Spread:
    """An affine map of a look of quarters, as one of whole lines of pixels; one compiled call."""

    def __init__(self, chooser: Chooser, x: Tensor) -> None:
        """Spreads the weight over the pixels of maps like x: [1, channels, height, width]."""
        from ccenv.sparse.cpu.elementwise_kernels import pooled_score

        _, channels, height, width = self.shape = x.shape
        ((weight, bias),) = chooser.maps
        quarters = weight.detach().float().reshape(channels, LOOK_SIDE, LOOK_SIDE)
        share = LOOK_SIDE**2 / (height * width)
        lines = (quarters * share).permute(1, 2, 0).repeat_interleave(width // LOOK_SIDE, 1)
        # Kept: the compiled call knows its address alone.
        self.lines = lines.reshape(LOOK_SIDE, width * channels).contiguous()
        self.where = self.lines.data_ptr(), height, width * channels
        self.bias = 0.0 if bias is None else float(bias)
        self.score = pooled_score


def scores_of(chooser: Chooser, look: Tensor) -> Tensor:
    """Scores of what is seen: [batch, look_size] -> [batch, num_blocks]."""
    if isinstance(chooser.maps, Tensor):
        return chooser.maps.expand(len(look), -1)
    activate = torch.tanh if chooser.activation == "tanh" else torch.relu
    for number, (weight, bias) in enumerate(chooser.maps):
        look = torch.nn.functional.linear(activate(look) if number else look, weight, bias)
    return look


def mask_of(
    chooser: Chooser,
    scores: Tensor,
    uniform: Tensor | None,
    listed: Callable[[Tensor, int], Tensor] = mask_of_indices,
) -> Tensor:
    """Masks that a rule makes of scores [batch, num_blocks] and numbers in [0, 1) like them.

    `listed` makes masks of lists of blocks: an exporter needs other operations for it.
    """
    if chooser.rule == "likely":
        return scores > 0
    if chooser.rule == "drawn":
        assert uniform is not None
        return uniform < chooser.low + (1 - 2 * chooser.low) * scores.sigmoid()
    if chooser.rule == "drawn_k":
        assert uniform is not None
        scores = scores - torch.log(-torch.log(uniform.clamp(TINY, ALMOST_ONE)))
    return listed(scores.topk(chooser.num_kept, dim=1).indices, scores.shape[1])


def least_score(chooser: Chooser, uniform: float) -> float:
    """Above it a gate of one block is kept: the same rule as `mask_of`'s, the number in [0, 1)."""
    if chooser.rule == "likely":
        return 0.0
    if chooser.rule != "drawn":
        return -math.inf
    share = (uniform - chooser.low) / (1 - 2 * chooser.low)
    if not 0 < share < 1:
        return -math.inf if share <= 0 else math.inf
    return math.log(share / (1 - share))
