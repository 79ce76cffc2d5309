"""A classifier as one graph of tensor operations: (inputs, uniform numbers) -> logits and masks.

Every block is computed and multiplied away where it is skipped (`backend="reference"`), so that a
graph without decisions means exactly what the skipping classifier does; with `skips`, single inputs
go through blocks by `torch.cond`, which exporters write as a branch that is not run. `len` of a
tensor is asked nowhere: a graph would be fixed to that number of rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn

from ccenv.annexes.deploy.export_content import stored_network
from ccenv.annexes.deploy.export_images import Preparation
from ccenv.base.mask_words import takes_draw
from ccenv.mdp.choosers import AnyChooser, are_sampled, key_of, mask_of, read_by
from ccenv.mdp.dynamics import EpisodeState
from ccenv.mdp.observations import Observer, last_symbols
from ccenv.networks.core.lowering import (
    GATES,
    Affine,
    AlwaysRun,
    Blocks,
    Embed,
    Leave,
    Lowered,
    NetworkStep,
    Operation,
    StageGate,
    by_steps,
    lowered,
    why_not_lowered,
)
from ccenv.networks.core.precision import dtype_of
from ccenv.networks.core.protocol import num_blocks_of
from ccenv.networks.core.stage import Stage
from ccenv.networks.stages.linear import Whole
from ccenv.networks.vision.residual import ResidualUnit
from ccenv.networks.vision.transformer import Summed
from ccenv.simulator.policy import as_policy
from ccenv.sparse.linear import block_sparse_linear, resolve_activation
from ccenv.sparse.reference import zero_where_skipped

REFERENCE = "reference"
BRANCHED = (ResidualUnit, Summed, Whole)
"""Stages whose blocks can stand in branches of a graph, in addition to exits."""


@dataclass(frozen=True)
class RowState:
    """Rows on their way through the operations."""

    x: Any
    """what the next operation reads."""
    images: Tensor
    """[rows, ...] as the network sees them."""
    uniforms: Tensor | None
    """[rows, all blocks]; None where nothing is drawn."""
    gate: int = 0
    """the next one."""
    before: Tensor | None = None
    """bool [rows, blocks]; which blocks of x are not zero, None for all."""
    mask: Tensor | None = None
    """the gate's before, as it was executed."""
    looks: tuple[Tensor, ...] = ()
    """[rows, look_size] at each gate so far."""
    goes: Tensor | None = None
    """bool [rows, 1]; which rows have not stopped, None for all."""
    early: Tensor | None = None
    """[rows, num_classes]; what stopped rows answer, 0 of the others."""


class MaskedForm(nn.Module):
    """Inputs [batch, ...], uniforms [batch, all blocks] -> logits, executed masks."""

    def __init__(
        self,
        network: Any,
        choosers: Sequence[AnyChooser],
        see: Observer,
        prepare: Preparation | None = None,
        *,
        skips: bool = False,
    ) -> None:
        """Takes the parts.

        Args:
            network: in evaluation mode and not packed; its modules no longer work in place.
            choosers: one for each gate.
            see: how they look at states.
            prepare: makes what the network sees of inputs; None: they are it.
            skips: branches instead of products with masks.

        Raises:
            ValueError: if there is no such form; says why.
        """
        super().__init__()
        refuse(network, skips=skips)
        self.network, self.prepare, self.skips = network, prepare, skips
        for module in network.modules():
            # In a branch of a graph nothing may be changed in place.
            if getattr(module, "inplace", False):
                module.inplace = False
        self.num_blocks = num_blocks_of(network)
        self.choosers, self.draws = choosers, are_sampled(choosers)
        self.see = replace(see, network=network)
        is_known = why_not_lowered(network) is None
        self.lower = lowered if is_known else by_steps
        looks_are_ours = see.function in (None, last_symbols)
        self.open_batch = is_known and looks_are_ours and not skips
        """whether any number of inputs can be given at once; else one."""

    def forward(self, images: Tensor, uniforms: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [batch, num_classes], and bool [batch, all blocks]: what was executed."""
        images = images if self.prepare is None else self.prepare.transformed(images)
        # Lowered here, where an exporter has put its own tensors in place of the weights.
        network = self.lower(self.network)
        logits, masks = self._through(network, 0, RowState(images, images, uniforms))
        return logits, torch.cat(masks, dim=1)

    def _through(self, network: Lowered, start: int, rows: RowState) -> tuple[Tensor, list[Tensor]]:
        """Logits, and what is executed from an operation on."""
        masks: list[Tensor] = []
        for number, operation in enumerate(network.operations[start:], start + 1):
            if not isinstance(operation, GATES):
                rows = replace(rows, x=always(operation, rows), before=None)
                continue
            early = operation.head(rows.x) if isinstance(operation, Leave) else None
            rows = replace(rows, looks=(*rows.looks, self._look(network, rows, early)))
            mask = self._mask(rows)
            behind = replace(rows, gate=rows.gate + 1, mask=mask)
            if early is None:
                rows = self._gated(operation, rows, behind, mask)
            elif not self.skips:
                rows = left(behind, mask, early)
            else:
                logits, later = self._branched(network, number, behind, mask, early)
                return logits, [*masks, *later]
            masks.append(mask)
        if rows.goes is None or rows.early is None:
            return rows.x, masks
        return torch.where(rows.goes, rows.x, 0.0) + rows.early, masks

    def _look(self, network: Lowered, rows: RowState, early: Tensor | None) -> Tensor:
        gate, flat = rows.gate, rows.images.flatten(1)
        hidden = network.hidden(rows.x, rows.before, early)
        if not self.see.lengths[gate]:
            return flat[:, :0].float()
        if self.see.kind == "layer_input":
            # Not by the state: that asks how many rows there are, which a graph leaves open.
            seen: Tensor = self.network.look(gate, hidden)
            return seen
        labels = torch.zeros_like(flat[:, 0], dtype=torch.int64)
        state = EpisodeState(rows.images, labels, gate, hidden, rows.mask, labels)
        return self.see._look(state)

    def _mask(self, rows: RowState) -> Tensor:
        gate, seen = rows.gate, read_by(self.choosers[rows.gate], rows.looks)
        start, blocks = sum(self.num_blocks[:gate]), self.num_blocks[gate]
        uniform = None if rows.uniforms is None else rows.uniforms[:, start : start + blocks]
        mask = mask_of(self.choosers[gate], seen, uniform, blocks)
        return mask if rows.goes is None else mask & rows.goes

    def _gated(
        self, operation: Operation, rows: RowState, behind: RowState, mask: Tensor
    ) -> RowState:
        """What a gate that is no exit makes of rows."""
        if isinstance(operation, Blocks):
            return replace(behind, x=affine(operation, rows, mask), before=mask)
        if isinstance(operation, NetworkStep):
            return replace(behind, x=operation.step(rows.x, mask))
        assert isinstance(operation, StageGate)
        stage = operation.stage
        if self.skips:
            x = in_branches(stage, rows.x, mask)
        else:
            x = stage(rows.x, mask, rows.before, None, REFERENCE)
        return replace(behind, x=x, before=mask if stage.marks_output else None)

    def _branched(
        self, network: Lowered, number: int, behind: RowState, mask: Tensor, early: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """All that lies behind an exit stands in a branch."""
        num_bits, width = sum(self.num_blocks[behind.gate - 1 :]), early.shape[1]

        # A branch gives one tensor: logits, and behind them the bits.
        def goes(x: Tensor, early: Tensor) -> Tensor:
            logits, masks = self._through(network, number, replace(behind, x=x))
            return torch.cat([logits, *(bits.float() for bits in (mask, *masks))], dim=1)

        def stops(_: Tensor, early: Tensor) -> Tensor:
            return torch.cat([early, early.new_zeros(1, num_bits)], dim=1)

        joined = branch(mask[0, 0], goes, stops, (behind.x, early))
        return joined[:, :width], [joined[:, width:] > 0]


def always(operation: Operation, rows: RowState) -> Tensor:
    """What an operation without a gate makes of rows."""
    if isinstance(operation, Embed):
        embedded: Tensor = operation.rows(rows.x[:, -operation.places :]).flatten(1)
        return embedded
    if isinstance(operation, Affine):
        return affine(operation, rows, None)
    assert isinstance(operation, AlwaysRun)
    return operation.module(rows.x)


def affine(layer: Affine, rows: RowState, mask: Tensor | None) -> Tensor:
    """Kept blocks of an affine map: [rows, units]."""
    y = block_sparse_linear(
        rows.x.flatten(1), layer.weight, layer.bias, rows.before, mask, backend=REFERENCE
    )
    for table in layer.tables:
        keys = key_of(rows.images[:, -table.num_keys :], table.num_symbols)
        y = y + nn.functional.embedding(keys, table.rows)
    activation = resolve_activation(layer.activation)
    return zero_where_skipped(y if activation is None else activation(y), mask)


def left(behind: RowState, mask: Tensor, early: Tensor) -> RowState:
    """Rows behind an exit: those that stop are still computed, and ignored."""
    stops = ~mask if behind.goes is None else behind.goes & ~mask
    heard = torch.where(stops, early, 0.0)
    return replace(behind, goes=mask, early=heard if behind.early is None else behind.early + heard)


def in_branches(stage: Stage, x: Tensor, mask: Tensor) -> Tensor:
    """What a stage makes of one row, its blocks in branches of the graph."""
    if isinstance(stage, Summed):
        seen, total = stage.prepared(x), x + stage.bias
        for block in range(stage.num_blocks):

            def kept(seen: Tensor, block: int = block) -> Tensor:
                return stage.added(seen, (block,), None)

            total = total + branch(mask[0, block], kept, torch.zeros_like, (seen,))
        return total
    if isinstance(stage, Whole):
        nothing = x.new_zeros(1, stage.outputs)
        return branch(mask[0, 0], stage.body, lambda _: nothing.clone(), (x,))
    assert isinstance(stage, ResidualUnit)
    return branch(
        mask[0, 0],
        lambda x: stage.of_one(x, kept=True),
        lambda x: stage.of_one(x, kept=False),
        (x,),
    )


def branch(
    taken: Tensor,
    yes: Callable[..., Tensor],
    no: Callable[..., Tensor],
    operands: tuple[Tensor, ...],
) -> Tensor:
    """`torch.cond` whose branches give new tensors of sizes that are known."""

    def one(*operands: Tensor) -> Tensor:
        return yes(*operands).clone()

    def other(*operands: Tensor) -> Tensor:
        return no(*operands).clone()

    if torch.compiler.is_dynamo_compiling():
        # Within another branch.
        inner: Tensor = torch.cond(taken, one, other, operands)
        return inner
    # An exporter opens all sizes, and a branch whose output is strided cannot have open ones;
    # of one row all are known.
    sizes = {"assume_static_by_default": True, "automatic_dynamic_shapes": False}
    with torch._dynamo.config.patch(sizes):
        torch.compiler.reset()
        outcome: Tensor = torch.cond(taken, one, other, operands)
    return outcome


@takes_draw
def form_of(
    classifier: Any, *, deterministic: bool | None = None, skips: bool = False
) -> MaskedForm:
    """The form of an exported classifier, on a copy of its network.

    Args:
        classifier: a `SkippingClassifier`.
        deterministic: True for greedy masks, False for sampled ones; None: as the classifier does.
        skips: see `MaskedForm`.

    Raises:
        ValueError: if there is no such form; says why.
    """
    if classifier.ranges:
        raise ValueError(
            "cannot write a policy under a context as a graph: expected fixed cost weights and "
            "budgets, "
            f"got {', '.join(classifier.ranges)}; take the safetensors file"
        )
    policy = classifier.policy
    greedy = classifier.deterministic if deterministic is None else deterministic
    choosers = as_policy(policy).choosers(deterministic=greedy)
    if choosers is None:
        raise ValueError(
            f"cannot write {type(policy).__name__} as a graph: expected a policy of affine "
            "maps or lists (Agent.choosers); take the safetensors file"
        )
    # Built anew: a packed network would run its kernels.
    network = stored_network(classifier.content["network"], classifier.image_shape).eval()
    return MaskedForm(network, choosers, classifier.look, classifier.prepare, skips=skips)


def refuse(network: Any, *, skips: bool) -> None:
    """Refuses a network that has no such form."""
    reason, name = why_not_lowered(network), type(network).__name__
    if dtype_of(network) != "float32":
        raise ValueError(f"cannot write {name} as a graph: {reason}; take the safetensors file")
    if reason is not None and any(gate.skipped == "stop" for gate in network.gates):
        raise ValueError(f"cannot write exits of {name} as a graph: {reason}")
    if not skips:
        return
    if reason is None:
        gates = [o for o in lowered(network).operations if not isinstance(o, AlwaysRun | Leave)]
        parts = [one.stage if isinstance(one, StageGate) else one for one in gates]
        others = {type(part).__name__ for part in parts if not isinstance(part, BRANCHED)}
        reason = f"with {min(others)}" if others else None
    if reason is not None:
        raise ValueError(
            "expected a GatedSequential whose gates are residual units, attention heads, groups of "
            f"units or exits for a graph that branches, got {name}: {reason}; leave --skip out"
        )
