"""A network of symbols in one compiled call: (network, choosers) -> windows to logits and masks.

It computes what `TokenMLP` and an affine policy compute, to rounding; of equal scores the first one
counts. Policies that embed symbols, and a first layer of which everything is computed, are look-ups
and additions alone, see `ccenv.deploy.fused.symbol_maps`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.base.registry import check_names
from ccenv.deploy.fused import program as ops
from ccenv.deploy.fused.call import CompiledCall, check_number
from ccenv.deploy.fused.choosers import AnyChooser, ListChooser, write_chooser
from ccenv.deploy.fused.symbol_maps import (
    EmbeddedMap,
    Windows,
    write_embedded_chooser,
    write_lists,
    write_map,
    write_rows,
)
from ccenv.deploy.fused.writer import Writer, filled, padded
from ccenv.mdp.observations import LAST_SYMBOLS
from ccenv.networks.core.mlp import linear_at
from ccenv.networks.text.lookup_tables import TabledMLP
from ccenv.networks.text.tokens import TokenMLP

WALK = ("start", "step", "units", "logits", "look")
"""Methods of a network that the compiled call stands for."""
UNMASKED = (ops.NO_MASK, 1, 0)


def why_not_tokens(network: Any) -> str | None:
    """Why a network cannot run in one compiled call of symbols, None where it can."""
    kind = TabledMLP if isinstance(network, TabledMLP) else TokenMLP
    own = [getattr(type(network), name, None) for name in WALK]
    if own != [getattr(kind, name) for name in WALK]:
        return "its layers are not those of TokenMLP"
    if not isinstance(network.embedding, nn.Embedding):
        return "its stem is not embeddings side by side"
    kinds = {(p.device.type, p.dtype) for p in network.parameters()}
    return None if kinds == {("cpu", torch.float32)} else "it is not float32 on the CPU"


class FusedTokens(CompiledCall):
    """Windows of symbols, int64 [batch, length], to logits in one compiled call."""

    def __init__(
        self,
        network: TokenMLP,
        choosers: Sequence[AnyChooser] | None = None,
        *,
        observation: str = "layer_input",
        keep_all: bool = False,
    ) -> None:
        """Writes the program.

        Args:
            network: a `TokenMLP`, float32 on the CPU.
            choosers: one for each gated layer; None where the caller gives masks.
            observation: what maps without embeddings look at: "layer_input", or "symbols", the
                last symbols as numbers.
            keep_all: computes every block, without choosers or masks: the dense network.

        Raises:
            ValueError: if the network cannot be fused, or choosers do not fit it.
        """
        reason = why_not_tokens(network)
        if reason is not None:
            raise ValueError(f"cannot fuse {type(network).__name__}: {reason}")
        check_names([observation], ("layer_input", LAST_SYMBOLS), "observation")
        if keep_all and choosers is not None:
            raise ValueError("expected no choosers beside keep_all=True")
        check_number(choosers, len(network.gates))
        self.windows = Windows(network.num_tokens, network.num_symbols)
        writer = Writer()
        TokenWriter(writer, network, self.windows, choosers, observation, keep_all).write()
        super().__init__(
            writer,
            choosers,
            num_blocks=() if keep_all else network.num_blocks,
            # An int64 takes the place of two of them.
            in_floats=2 * network.num_tokens,
            num_classes=network.num_classes,
            macs=network.dense_macs,
        )

    def checked(self, inputs: Tensor) -> Tensor:
        """See `CompiledCall.checked`; whether there are such symbols, the program finds."""
        length, shape = self.windows.length, inputs.shape
        if inputs.dtype is not torch.int64 or not inputs.is_cpu:
            raise TypeError(
                f"expected symbols as int64 on the CPU, got {inputs.dtype} on {inputs.device}"
            )
        if len(shape) != 2 or shape[1] != length:
            raise ValueError(f"expected windows [batch, {length}], got {list(shape)}")
        return inputs.contiguous()

    def refused(self, inputs: Tensor) -> Exception:
        """See `CompiledCall.refused`: of a symbol that there is not nothing is looked up."""
        return ValueError(
            f"expected symbols in 0..{self.windows.num_symbols - 1}, got {int(inputs.min())} to "
            f"{int(inputs.max())}"
        )


class TokenWriter:
    """Writes the program of a `TokenMLP`; arguments as those of `FusedTokens`."""

    def __init__(
        self,
        writer: Writer,
        network: TokenMLP,
        windows: Windows,
        choosers: Sequence[AnyChooser] | None,
        observation: str,
        keep_all: bool,
    ) -> None:
        self.writer, self.network, self.windows = writer, network, windows
        assert isinstance(network.embedding, nn.Embedding)
        self.embeddings = network.embedding.weight
        self.choosers, self.keep_all = choosers, keep_all
        self.observation = observation
        names = network.table_names if isinstance(network, TabledMLP) else ()
        self.tables = set(names)

    def write(self) -> None:
        """Adds the whole network."""
        self.writer.write(ops.CHECK, ops.IMAGES, 0, self.windows.num_symbols)
        hidden, place = UNMASKED, ops.IMAGES
        for gate in range(len(self.network.gates)):
            if self.choosers is not None:
                self.choose(self.choosers[gate], gate, place, hidden)
            place, hidden = self.layer(gate, place, hidden)
        self.head(place, hidden)

    def choose(
        self, chooser: AnyChooser, gate: int, place: int, hidden: tuple[int, int, int]
    ) -> None:
        """Adds what chooses a gate's mask."""
        blocks, writer, windows = self.network.num_blocks[gate], self.writer, self.windows
        if isinstance(chooser, ListChooser):
            write_lists(writer, windows, chooser, gate, blocks)
            return
        if chooser.embeddings is None and not isinstance(chooser.maps, Tensor):
            if self.observation == LAST_SYMBOLS:
                numbers = torch.arange(windows.num_symbols).float()[:, None]
                chooser = replace(chooser, embeddings=numbers)
            elif gate == 0:
                chooser = replace(chooser, embeddings=self.embeddings)
        if chooser.embeddings is not None:
            write_embedded_chooser(writer, windows, chooser, gate, blocks)
            return
        before, num_before, size = hidden
        look = self.network.gates[gate].look_size
        write_chooser(writer, chooser, gate, blocks, place, look, (before, num_before), size)

    def layer(
        self, gate: int, place: int, hidden: tuple[int, int, int]
    ) -> tuple[int, tuple[int, int, int]]:
        """Adds a gated layer; returns its units' place, and their mask, blocks and block size."""
        network, size = self.network, self.network.block_sizes[gate]
        layer, blocks = linear_at(network.layers, gate), network.num_blocks[gate]
        weight, bias = filled(layer.weight, 0, size), filled(layer.bias, 0, size)
        by_last = None
        if "hidden" in self.tables:
            assert isinstance(network, TabledMLP)
            by_last = filled(network.biases(gate).weight, 1, size)
        is_whole = self.keep_all or (self.choosers is not None and self.choosers[gate].keeps_all)
        mask, sides = (ops.NO_MASK, 1) if is_whole else (gate, blocks)
        after = (mask, sides, size)
        if gate == 0:
            found = EmbeddedMap(self.embeddings, weight, bias, by_last, "relu")
            return write_map(self.writer, self.windows, found, mask, sides), after
        before, num_before, size_before = hidden
        weight = filled(weight, 1, size_before)
        now = None if by_last is not None else "relu"
        masks, numbers = (before, mask), (num_before, sides)
        place = self.writer.layer(weight, bias, place, now, masks, numbers)
        if by_last is not None:
            write_rows(self.writer, self.windows, by_last, 1, place, mask, sides, "relu")
        return place, after

    def head(self, place: int, hidden: tuple[int, int, int]) -> None:
        """Adds the logits."""
        network, writer, (before, blocks, size) = self.network, self.writer, hidden
        head = linear_at(network.layers, len(network.gates))
        weight, bias = padded(filled(head.weight, 1, size), head.bias)
        masks = (before, ops.NO_MASK)
        target = ops.LOGITS if len(weight) == network.num_classes else None
        place = writer.layer(weight, bias, place, None, masks, (blocks, 1), target)
        for name, num_keys in (("logits", 1), ("pairs", 2)):
            if name in self.tables:
                assert isinstance(network, TabledMLP)
                table = network.logit_table if num_keys == 1 else network.pair_table
                write_rows(writer, self.windows, wide(table.weight), num_keys, place)
        if target is None:
            writer.write(ops.COPY, place, ops.LOGITS, len(weight), network.num_classes)


def wide(table: Tensor) -> Tensor:
    """Rows of a table filled up to whole vectors, as logits lie."""
    rows, _ = padded(table.t(), None)
    return rows.t()
