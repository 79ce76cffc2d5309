"""A policy and a network with little between them: (images) -> logits and masks.

A network of affine maps runs in one compiled call (`ccenv.deploy.fused`), one of stages here.

One image goes through the modules and decisions of the lowered list alone: what a walk of many rows
needs (which have stopped, which masks share an input) takes as long for one row as a small
convolution does. Many images walk as everywhere, under the same rules.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.base.annotations import has_mark
from ccenv.base.masks import as_mask, gate_values_of
from ccenv.deploy.fused.classifier import FusedClassifier, reads_symbols, why_not_fused
from ccenv.mdp.choosers import (
    Chooser,
    are_sampled,
    check_maps,
    check_number,
    check_rule,
    kept_by,
    mask_of,
    scores_of,
)
from ccenv.mdp.dynamics import EpisodeState, StepOutcome, initial, outcomes
from ccenv.mdp.observations import LAST_SYMBOLS, Observer
from ccenv.networks.core.exit_state import exit_look
from ccenv.networks.core.lowering import Leave, Operation, Part, Run, lowered, why_not_lowered
from ccenv.networks.core.protocol import num_blocks_of, walk
from ccenv.networks.core.stage import LAST, LOOK_SIDE, is_channels_last, is_even
from ccenv.simulator.context import affordable
from ccenv.simulator.policy import Policy, as_policy, follow

IMAGES = 3
"""Dimensions of an image."""


@torch.no_grad()
def look_and_compute(
    policy: Policy,
    surface: Any,
    images: Tensor,
    generator: torch.Generator | None,
    budget: Tensor | None,
) -> tuple[StepOutcome, list[Tensor]]:
    """Walks images through the layers as a rollout does, without rewards and MACs.

    Args:
        policy: chooses the masks.
        surface: what policies read of an environment: a simulator, or a classifier's `Surface`.
        images: as the network reads them.
        generator: of the draws, None for greedy masks.
        budget: float32 [batch], or None.

    Returns:
        Outcome of the last gate, and the masks as executed.
    """
    network = surface.network
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    follow(as_policy(policy), surface)
    state = initial(network, images, labels, earlier=surface.earlier)
    surface.state = state
    as_policy(policy).begin_episode(surface)

    def choose(state: EpisodeState) -> tuple[Tensor, Tensor | None]:
        surface.state = state
        action = policy.act(surface.observe(state), state.layer, generator)
        mask = as_mask(action, surface.num_blocks[state.layer])
        if budget is not None:
            mask = affordable(network, state, mask, budget)
        return mask, gate_values_of(action)

    walked = list(outcomes(network, state, choose))
    return walked[-1], [outcome.mask for outcome in walked]


Decide = Callable[[int, Tensor, Tensor | None], bool | Tensor]
"""(gate, features [1, ...] before it, an exit's answer) -> whether its one block is kept; of a gate
of several blocks a mask, bool [1, num_blocks]."""


class OneRow:
    """A network, as it is packed now, for one input at a time; without gradients."""

    def __init__(self, network: Any) -> None:
        """Takes the modules of a network that run now: pack it first."""
        reason = why_not_one_row(network)
        if reason is not None:
            raise ValueError(f"cannot run single rows of {type(network).__name__}: {reason}")
        with torch.no_grad():
            operations = lowered(network).operations
        gates = [found for found in operations if not isinstance(found, Run)]
        self.stages = [found.stage if isinstance(found, Part) else None for found in gates]
        """of each gate, None of an exit."""
        numbers = itertools.count()
        self.operations: list[tuple[Operation, int]] = [
            (found, -1 if isinstance(found, Run) else next(numbers)) for found in operations
        ]
        """each with the number of its gate, -1 of none."""

    def __call__(self, inputs: Tensor, decide: Decide) -> Tensor:
        """Logits [1, num_classes] of inputs [1, ...]; gates behind an exit taken are not asked."""
        x, before = inputs, None
        for found, gate in self.operations:
            if isinstance(found, Run):
                x, before = found.module(x), None
            elif isinstance(found, Leave):
                early: Tensor = found.head(x)
                if not decide(gate, x, early):
                    return early
            else:
                assert isinstance(found, Part)
                stage, kept = found.stage, decide(gate, x, None)
                if isinstance(kept, Tensor):
                    x = stage(x, kept, before)
                    before = kept if stage.marks_output else None
                else:
                    x, before = stage.of_one(x, kept), None
        return x

    def look(self, gate: int, x: Tensor, early: Tensor | None) -> Tensor:
        """Features offered at a gate: float32 [1, look_size]."""
        stage = self.stages[gate]
        if stage is not None:
            return stage.look(x)
        assert early is not None
        return exit_look(early, x)


def why_not_one_row(network: Any) -> str | None:
    """Why a network has no single rows, None where it has."""
    reason = why_not_lowered(network)
    if reason is not None:
        return reason
    kinds = [type(found) for found in lowered(network).operations]
    others = [kind.__name__ for kind in kinds if kind not in (Run, Part, Leave)]
    return f"it has no stages, but {others[0]}" if others else None


class ShortWalk:
    """Images to logits and masks, with the weights that the network has now."""

    def __init__(self, network: Any, choosers: Sequence[Chooser], example: Tensor) -> None:
        """Takes a packed network, a chooser for each gate, and an example of an input [1, ...]."""
        self.network, self.choosers = network, list(choosers)
        self.one = OneRow(network)
        self.scores = GateScores(self.one, self.choosers, example)
        self.num_blocks = num_blocks_of(network)
        self.starts = [0, *itertools.accumulate(self.num_blocks)]
        """where each gate's bits begin among those of all."""
        self.draws = are_sampled(choosers)
        self.prepare: Callable[[Tensor], Tensor] | None = None
        """makes what the network sees of the images that a call is given; None: they are it."""
        self.stream: Callable[[Tensor], torch.Generator] | None = None
        """what draws the masks of images where a call is given no generator."""

    @torch.no_grad()
    def __call__(
        self, images: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Classifies images.

        Args:
            images: [batch, ...], or what `prepare` wants.
            generator: of the uniform numbers of the rules "sampled" and "sampled_k".

        Returns:
            Logits [batch, num_classes], and bool [batch, num_blocks] for each gate; behind an exit
            that one image alone has taken, nothing is kept.

        Raises:
            ValueError: if there is no generator to draw from.
        """
        if self.prepare is not None:
            images = self.prepare(images)
        if self.draws and generator is None:
            if self.stream is None:
                raise ValueError("expected a generator: masks are drawn")
            generator = self.stream(images)
        if len(images) == 1:
            # The same numbers as gate by gate.
            drawn = torch.rand(1, self.starts[-1], generator=generator) if self.draws else None
            return self._one(images, drawn)
        uniforms: list[Tensor | None] = [None] * len(self.num_blocks)
        if self.draws:
            uniforms = [torch.rand(len(images), n, generator=generator) for n in self.num_blocks]
        return self._many(images, uniforms)

    def _one(self, image: Tensor, drawn: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        numbers = [0.0] * self.starts[-1] if drawn is None else drawn[0].tolist()
        kept = [False] * self.starts[-1]

        def decide(gate: int, x: Tensor, early: Tensor | None) -> bool | Tensor:
            chooser, start, end = self.choosers[gate], self.starts[gate], self.starts[gate + 1]
            if end - start == 1:
                least = least_score(chooser, numbers[start])
                kept[start] = least == -math.inf or self.scores(gate, x, early) > least
                return kept[start]
            uniform = None if drawn is None else drawn[:, start:end]
            mask = kept_by(chooser, self.scores.all_of(gate, x, early), uniform)
            kept[start:end] = mask[0].tolist()
            return mask

        logits = self.one(image, decide)
        return logits, list(torch.tensor([kept]).split(self.num_blocks, dim=1))

    def _many(
        self, images: Tensor, uniforms: Sequence[Tensor | None]
    ) -> tuple[Tensor, list[Tensor]]:
        masks: list[Tensor] = []

        def choose(gate: int, hidden: Any) -> Tensor:
            seen, blocks = self.network.look(gate, hidden), self.num_blocks[gate]
            masks.append(mask_of(self.choosers[gate], seen, uniforms[gate], blocks))
            return masks[-1]

        return walk(self.network, images, choose), masks


class GateScores:
    """Scores of the gates of single rows, as fast as they come."""

    def __init__(self, one: OneRow, choosers: Sequence[Chooser], example: Tensor) -> None:
        """Prepares the maps; ValueError if choosers do not fit the gates."""
        self.one, self.choosers = one, choosers
        self.spread: list[Spread | None] = []
        check_number(choosers, len(one.stages))
        with torch.no_grad():
            one(example, self._prepare)

    def _prepare(self, gate: int, x: Tensor, early: Tensor | None) -> bool:
        chooser, stage = self.choosers[gate], self.one.stages[gate]
        blocks = 1 if stage is None else stage.num_blocks
        check_rule(chooser, blocks)
        check_maps(chooser, self.one.look(gate, x, early).shape[1], blocks)
        can_spread = (
            blocks == 1
            and not isinstance(chooser.maps, Tensor)
            and len(chooser.maps) == 1
            and stage is not None
            and has_mark(stage.look, "is_pooled")
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


def least_score(chooser: Chooser, uniform: float) -> float:
    """Above it a gate of one block is kept: the same rule as `kept_by`'s, the number in [0, 1)."""
    if chooser.rule == "greedy":
        return 0.0
    if chooser.rule != "sampled":
        return -math.inf
    share = (uniform - chooser.low) / (1 - 2 * chooser.low)
    if not 0 < share < 1:
        return -math.inf if share <= 0 else math.inf
    return math.log(share / (1 - share))


def fuse_policy(
    network: Any,
    policy: Any,
    observe: Observer,
    image_shape: tuple[int, ...],
    *,
    deterministic: bool,
) -> FusedClassifier | ShortWalk | None:
    """A policy and its network with little between them, None where that cannot be.

    Args:
        network: of affine maps, which run in one compiled call, or a `GatedSequential`.
        policy: says how it chooses by a method `choosers(deterministic=...)`, as agents do.
        observe: how the policy looks at states; one with a context is not fused.
        image_shape: of one input, such as channels, height and width.
        deterministic: greedy masks, instead of sampled ones.
    """
    choosers = as_policy(policy).choosers(deterministic=deterministic)
    if choosers is None or type(observe) is not Observer:
        return None
    if why_not_fused(network) is None:
        look = LAST_SYMBOLS if reads_symbols(network) else "summary"
        if observe.kind not in ("layer_input", look):
            return None
        return FusedClassifier(network, choosers, observation=observe.kind, image_shape=image_shape)
    if observe.kind != "layer_input" or why_not_short(network, image_shape) is not None:
        return None
    return ShortWalk(network, choosers, torch.zeros(1, *image_shape))


def why_not_short(network: Any, image_shape: tuple[int, ...]) -> str | None:
    """Why a network does not run in a `ShortWalk`, None where it does."""
    if len(image_shape) != IMAGES:
        return "its inputs are no images"
    kinds = {(p.device.type, p.dtype) for p in network.parameters()}
    if kinds != {("cpu", torch.float32)}:
        return "it is not float32 on the CPU"
    return why_not_one_row(network)
