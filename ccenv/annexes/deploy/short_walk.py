"""A policy and a network with little between them: inputs -> logits and masks.

A network of affine maps runs in one compiled call (`fused`), one of stages here.

One input goes through the modules and decisions of the lowered list alone: what a walk of many rows
needs (which have stopped, which masks share an input) takes as long for one row as a small
convolution does. Many inputs walk as everywhere, under the same rules.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ccenv.annexes.deploy.fused.classifier import FusedClassifier, reads_symbols, why_not_written
from ccenv.annexes.simulator.context import affordable
from ccenv.base.masks import as_mask, gate_values_of
from ccenv.mdp.choosers import (
    Chooser,
    are_sampled,
    check_maps,
    check_number,
    check_rule,
    mask_of,
    read_by,
)
from ccenv.mdp.dynamics import EpisodeState, StepOutcome, initial, outcomes
from ccenv.mdp.observations import LAST_SYMBOLS, Observer
from ccenv.networks.core.exit_state import exit_look
from ccenv.networks.core.lowering import (
    AlwaysRun,
    Leave,
    Operation,
    StageGate,
    operations_of,
)
from ccenv.networks.core.protocol import num_blocks_of, walk
from ccenv.networks.core.unrolled import played
from ccenv.simulator.policy import Policy, as_policy, follow

IMAGES = 3
"""Dimensions of an image."""


@torch.no_grad()
def look_and_compute(
    policy: Policy,
    surface: Any,
    inputs: Tensor,
    generator: torch.Generator | None,
    budget: Tensor | None,
    cache: Any = None,
) -> tuple[StepOutcome, list[Tensor]]:
    """Walks inputs through the layers as a rollout does, without rewards and MACs.

    Args:
        policy: chooses the masks.
        surface: what policies read of an environment: a simulator, or a classifier's `Surface`.
        inputs: as the network reads them.
        generator: of the draws, None for greedy masks.
        budget: float32 [batch], or None.
        cache: the state before these inputs, see `ccenv.networks.core.abilities.Continues`.

    Returns:
        Outcome of the last gate, and the masks as executed.
    """
    network = surface.network
    labels = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    follow(as_policy(policy), surface)
    cache = played(network, inputs, surface.rule) if cache is None else cache
    state = initial(network, inputs, labels, state=cache)
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
    """Stages of a network, as it was packed when it was lowered, for one input at a time."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        """Takes operations of which `has_single_rows` is true."""
        gates = [operation for operation in operations if not isinstance(operation, AlwaysRun)]
        self.stages = [
            operation.stage if isinstance(operation, StageGate) else None for operation in gates
        ]
        """of each gate, None of an exit."""
        numbers = itertools.count()
        self.operations: list[tuple[Operation, int]] = [
            (operation, -1 if isinstance(operation, AlwaysRun) else next(numbers))
            for operation in operations
        ]
        """each with the number of its gate, -1 of none."""

    def __call__(self, inputs: Tensor, decide: Decide) -> Tensor:
        """Logits [1, num_classes] of inputs [1, ...]; gates behind an exit taken are not asked."""
        x, before = inputs, None
        for operation, gate in self.operations:
            if isinstance(operation, AlwaysRun):
                x, before = operation.module(x), None
            elif isinstance(operation, Leave):
                early: Tensor = operation.head(x)
                if not decide(gate, x, early):
                    return early
            else:
                assert isinstance(operation, StageGate)
                stage, kept = operation.stage, decide(gate, x, None)
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


def has_single_rows(operations: Sequence[Operation]) -> bool:
    """Whether operations are stages and exits, of which `OneRow` takes one input at a time."""
    kinds = (AlwaysRun, StageGate, Leave)
    return bool(operations) and all(isinstance(operation, kinds) for operation in operations)


Answer = tuple[Tensor, list[Tensor]]
"""Logits, and the mask of each gate."""


class ShortWalk:
    """Inputs to logits and masks, with the weights that the network has now."""

    def __init__(self, network: Any, choosers: Sequence[Chooser]) -> None:
        """Takes a packed network and a chooser for each gate; ValueError if they do not fit."""
        check_number(choosers, len(network.gates))
        before = 0
        for chooser, gate in zip(choosers, network.gates, strict=True):
            check_rule(chooser, gate.num_blocks)
            columns = gate.look_size + (before if chooser.earlier else 0)
            check_maps(chooser, columns, gate.num_blocks)
            before += gate.look_size
        self.network, self.choosers = network, list(choosers)
        self.one = OneRow(operations_of(network))
        self.num_blocks = num_blocks_of(network)
        self.draws = are_sampled(choosers)
        self.prepare: Callable[[Tensor], Tensor] | None = None
        """makes what the network sees of the inputs that a call is given; None: they are it."""
        self.stream: Callable[[Tensor], torch.Generator] | None = None
        """what draws the masks of inputs where a call is given no generator."""

    @torch.no_grad()
    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Answer:
        """Classifies inputs.

        Args:
            images: [batch, ...], or what `prepare` wants.
            generator: of the uniform numbers of the rules "sampled" and "sampled_k".

        Returns:
            Logits [batch, num_classes], and bool [batch, num_blocks] for each gate; behind an exit
            that one input alone has taken, nothing is kept.

        Raises:
            ValueError: if there is no generator to draw from.
        """
        if self.prepare is not None:
            images = self.prepare(images)
        if self.draws and generator is None:
            if self.stream is None:
                raise ValueError("expected a generator: masks are drawn")
            generator = self.stream(images)
        uniforms: list[Tensor | None] = [None] * len(self.num_blocks)
        if self.draws:
            uniforms = [torch.rand(len(images), n, generator=generator) for n in self.num_blocks]
        return (self._one if len(images) == 1 else self._many)(images, uniforms)

    def _one(self, image: Tensor, uniforms: Sequence[Tensor | None]) -> Answer:
        masks: list[Tensor] = []
        looks: list[Tensor] = []

        def decide(gate: int, x: Tensor, early: Tensor | None) -> bool | Tensor:
            looks.append(self.one.look(gate, x, early))
            blocks, seen = self.num_blocks[gate], read_by(self.choosers[gate], looks)
            masks.append(mask_of(self.choosers[gate], seen, uniforms[gate], blocks))
            return bool(masks[-1]) if blocks == 1 else masks[-1]

        logits = self.one(image, decide)
        rest = self.num_blocks[len(masks) :]
        return logits, [*masks, *(torch.zeros(1, n, dtype=torch.bool) for n in rest)]

    def _many(self, images: Tensor, uniforms: Sequence[Tensor | None]) -> Answer:
        masks: list[Tensor] = []
        looks: list[Tensor] = []

        def choose(gate: int, hidden: Any) -> Tensor:
            looks.append(self.network.look(gate, hidden))
            blocks, seen = self.num_blocks[gate], read_by(self.choosers[gate], looks)
            masks.append(mask_of(self.choosers[gate], seen, uniforms[gate], blocks))
            return masks[-1]

        return walk(self.network, images, choose), masks


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
    operations = operations_of(network)
    reads_earlier = any(isinstance(one, Chooser) and one.earlier for one in choosers)
    if not reads_earlier and why_not_written(operations) is None:
        look = LAST_SYMBOLS if reads_symbols(operations) else "summary"
        if observe.kind not in ("layer_input", look):
            return None
        return FusedClassifier(network, choosers, observation=observe.kind, image_shape=image_shape)
    kinds = {(p.device.type, p.dtype) for p in network.parameters()}
    is_plain = observe.kind == "layer_input" and kinds == {("cpu", torch.float32)}
    if is_plain and len(image_shape) == IMAGES and has_single_rows(operations):
        return ShortWalk(network, choosers)
    return None
