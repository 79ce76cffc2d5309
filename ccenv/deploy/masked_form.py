"""A classifier as one graph of tensor operations: (images, uniform numbers) -> logits and masks.

Every block is computed and multiplied away where it is skipped (`backend="reference"`), so that a
graph without decisions means exactly what the skipping classifier does; with `skips`, single inputs
go through blocks by `torch.cond`, which exporters write as a branch that is not run.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.data.fitted_transforms import through
from ccenv.data.transforms import Standardise, as_floats
from ccenv.deploy.export_content import build_network
from ccenv.deploy.export_draw import is_drawn
from ccenv.deploy.export_images import Preparation
from ccenv.deploy.mask_rules import PolicyRules
from ccenv.deploy.masked_walks import BRANCHED, AnyWalk, BranchedWalk, branch, walk_of
from ccenv.mdp.dynamics import EpisodeState
from ccenv.mdp.observations import Observer, last_symbols
from ccenv.networks.core.exit_state import Exit, Flow
from ccenv.networks.core.one_row import why_not_one_row
from ccenv.networks.core.protocol import num_blocks_of
from ccenv.simulator.policy import as_policy

Given = tuple[Tensor, Tensor | None]
"""Images as the network sees them, and uniform numbers."""


class MaskedForm(nn.Module):
    """Images [batch, ...], uniforms [batch, all blocks] -> logits, executed masks."""

    def __init__(self, classifier: Any, draw: str | None = None, *, skips: bool = False) -> None:
        """Copies policy and network of a classifier.

        Args:
            classifier: a `SkippingClassifier`.
            draw: "mode" or "sampled"; None: as the classifier does.
            skips: branches instead of products with masks.

        Raises:
            ValueError: if there is no such form; says why.
        """
        super().__init__()
        content = classifier.content
        self.prepare: Preparation = classifier.prepare
        # Built anew: a packed network would run its kernels.
        self.network = build_network(content["network"], classifier.image_shape).eval()
        for module in self.network.modules():
            # In a branch of a graph nothing may be changed in place.
            if getattr(module, "inplace", False):
                module.inplace = False
        self.num_blocks = num_blocks_of(self.network)
        refuse(classifier, self.network, skips=skips)
        self.walk = BranchedWalk if skips else walk_of(self.network)
        looks_are_ours = classifier.look.own in (None, last_symbols)
        self.open_batch = self.walk not in (BranchedWalk, AnyWalk) and looks_are_ours
        """whether any number of inputs can be given at once; else one."""
        drawn = is_drawn(draw or classifier.draw)
        policy = classifier.policy
        found = as_policy(policy).choosers(drawn=drawn)
        if found is None:
            raise ValueError(
                f"cannot write {type(policy).__name__} as a graph: expected a policy of affine "
                "maps or lists (Agent.choosers); take the safetensors file"
            )
        self.policy = PolicyRules(list(found), self.num_blocks)
        self.see = Observer(classifier.look.kind, classifier.look.lengths, self.network,
                            classifier.look.own)  # fmt: skip

    def forward(self, images: Tensor, uniforms: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [batch, num_classes], and bool [batch, all blocks]: what was executed."""
        images = prepared(self.prepare, images)
        walk = self.walk(self.network)
        given = images, uniforms
        logits, masks = self._behind(walk, 0, walk.start(images), None, given)
        return logits, torch.cat(masks, dim=1)

    def _behind(
        self, walk: AnyWalk, gate: int, hidden: Any, before: Tensor | None, given: Given
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits, and what is executed from a gate on."""
        if gate == len(self.num_blocks):
            return walk.answer(hidden), []
        images, uniforms = given
        mask = self.policy(gate, self._seen(gate, images, hidden, before), uniforms)
        if isinstance(walk, BranchedWalk) and self.network.gates[gate].skipped == "stop":
            return self._branched(walk, gate, hidden, mask, given)
        mask, hidden = walk.step(gate, hidden, mask)
        logits, masks = self._behind(walk, gate + 1, hidden, mask, given)
        return logits, [mask, *masks]

    def _branched(
        self, walk: BranchedWalk, gate: int, hidden: Flow, mask: Tensor, given: Given
    ) -> tuple[Tensor, list[Tensor]]:
        """All that lies behind an exit stands in a branch."""
        assert hidden.early is not None
        num_bits, width = sum(self.num_blocks[gate:]), hidden.early.shape[1]

        # A branch gives one tensor: logits, and behind them the bits.
        def goes(x: Tensor, early: Tensor) -> Tensor:
            flow = walk.past(gate, dataclasses.replace(hidden, x=x, early=early))
            logits, masks = self._behind(walk, gate + 1, flow, mask, given)
            return torch.cat([logits, *(bits.float() for bits in (mask, *masks))], dim=1)

        def stops(_: Tensor, early: Tensor) -> Tensor:
            return torch.cat([early, early.new_zeros(1, num_bits)], dim=1)

        found = branch(mask[0, 0], goes, stops, (hidden.x, hidden.early))
        return found[:, :width], [found[:, width:] > 0]

    def _seen(self, gate: int, images: Tensor, hidden: Any, mask: Tensor | None) -> Tensor:
        if not self.see.lengths[gate]:
            return images.flatten(1)[:, :0].float()
        if self.see.kind == "layer_input":
            # Not by the state: that asks how many rows there are, which a graph leaves open.
            found: Tensor = self.network.look(gate, hidden)
            return found
        labels = torch.zeros_like(images.flatten(1)[:, 0], dtype=torch.int64)
        state = EpisodeState(images, labels, gate, hidden, mask, labels)
        return torch.cat(self.see._looks(state), dim=1)


def prepared(prepare: Preparation, images: Tensor) -> Tensor:
    """`Preparation.forward` of inputs that fit, without looking at their values."""
    transforms = prepare.transforms
    if prepare.are_bytes and not all(isinstance(t.function, Standardise) for t in transforms):
        images = (images * 255).round().to(torch.uint8)
    return as_floats(through(transforms, images))


def refuse(classifier: Any, network: Any, *, skips: bool) -> None:
    """Refuses what has no such form.

    Raises:
        ValueError: saying why.
    """
    if classifier.ranges:
        raise ValueError(
            "cannot write a policy under a context as a graph: expected fixed prices and budgets, "
            f"got {', '.join(classifier.ranges)}; take the safetensors file"
        )
    reason = why_not_one_row(network)
    has_exits = any(gate.skipped == "stop" for gate in network.gates)
    if has_exits and reason is not None:
        raise ValueError(f"cannot write exits of {type(network).__name__} as a graph: {reason}")
    if not skips:
        return
    parts = [] if reason else [network.part(gate) for gate in range(len(network.gates))]
    others = {type(part).__name__ for part in parts if not isinstance(part, (*BRANCHED, Exit))}
    if reason or others:
        raise ValueError(
            "expected a GatedSequential whose gates are residual units, attention heads, groups of "
            f"units or exits for a graph that branches, got {type(network).__name__}"
            f"{f' with {min(others)}' if others else f': {reason}'}; leave --skip out"
        )
