"""A policy in tensor operations alone: (what it sees, uniform numbers) -> masks; for export."""

from typing import Any

import torch
from torch import Tensor, nn

from ccenv.deploy.fused.choosers import DRAWN_RULES, AnyChooser, Chooser, ListChooser
from ccenv.deploy.policy_scores import mask_of


class MaskRule(nn.Module):
    """The rule of one gate; its numbers are buffers, so that an exporter finds them."""

    def __init__(self, chooser: AnyChooser, num_blocks: int) -> None:
        """Copies a chooser's numbers.

        Args:
            chooser: how the gate's mask is chosen.
            num_blocks: bits of the mask.
        """
        super().__init__()
        self.chooser, self.num_blocks = chooser, num_blocks
        self.draws = chooser.rule in DRAWN_RULES
        self.num_maps = 0
        if isinstance(chooser, ListChooser):
            self._keep("lists", chooser.lists)
            return
        if chooser.embeddings is not None:
            self._keep("embeddings", chooser.embeddings)
        if isinstance(chooser.maps, Tensor):
            self._keep("scores", chooser.maps)
            return
        self.num_maps = len(chooser.maps)
        self.embeds = chooser.embeddings is not None
        self.is_one_hot = is_identity(chooser.embeddings)
        for number, (weight, bias) in enumerate(chooser.maps):
            self._keep(f"weight_{number}", weight)
            self._keep(f"bias_{number}", weight.new_zeros(len(weight)) if bias is None else bias)

    def _keep(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor.detach().clone().contiguous())

    def forward(self, seen: Tensor, uniform: Tensor | None) -> Tensor:
        """Chooses.

        Args:
            seen: float32 [rows, columns], the informative ones.
            uniform: float32 [rows, num_blocks] in [0, 1); None where nothing is drawn.

        Returns:
            bool [rows, num_blocks].
        """
        chooser = self.chooser
        if isinstance(chooser, ListChooser):
            return among(self._listed(chooser, seen), self.num_blocks)
        return mask_of(chooser, self._scores(chooser, seen), uniform, among)

    def _listed(self, chooser: ListChooser, seen: Tensor) -> Tensor:
        key = torch.zeros_like(seen[:, 0], dtype=torch.int64)
        for column in range(seen.shape[1] - chooser.num_keys, seen.shape[1]):
            key = key * chooser.num_symbols + seen[:, column].long()
        return nn.functional.embedding(key, self.get_buffer("lists"))

    def _scores(self, chooser: Chooser, seen: Tensor) -> Tensor:
        if not self.num_maps:
            return self.get_buffer("scores") + torch.zeros_like(seen[:, :1])
        activate = torch.tanh if chooser.activation == "tanh" else torch.relu
        for number in range(self.num_maps):
            seen = self._mapped(number, activate(seen) if number else seen)
        return seen

    def _mapped(self, number: int, seen: Tensor) -> Tensor:
        weight, bias = self.get_buffer(f"weight_{number}"), self.get_buffer(f"bias_{number}")
        if number or not self.embeds:
            return nn.functional.linear(seen, weight, bias)
        # The first map reads plain columns, and for each symbol its numbers in place of one column.
        table, columns = self.get_buffer("embeddings"), seen.shape[1]
        wider = weight.shape[1] - columns
        symbols = wider // (table.shape[1] - 1) if wider else columns
        num_plain = columns - symbols
        plain, last = seen[:, :num_plain], seen[:, num_plain:].long()
        if not self.is_one_hot:
            looked_up = nn.functional.embedding(last, table).flatten(1)
            return nn.functional.linear(torch.cat([plain, looked_up], dim=1), weight, bias)
        starts = num_plain + len(table) * torch.arange(symbols, device=seen.device)
        rows = nn.functional.embedding(last + starts, weight.t()).sum(dim=1)
        return rows + nn.functional.linear(plain, weight[:, :num_plain], bias)


def is_identity(embeddings: Tensor | None) -> bool:
    """Whether symbols are read one-hot: then nothing is multiplied, rows are added up."""
    if embeddings is None or len(set(embeddings.shape)) > 1:
        return False
    return torch.equal(embeddings, torch.eye(len(embeddings)).to(embeddings))


class PolicyRules(nn.Module):
    """A policy of choosers."""

    def __init__(self, choosers: list[Any], num_blocks: tuple[int, ...]) -> None:
        """Takes a chooser and a number of blocks for each gate."""
        super().__init__()
        self.rules = nn.ModuleList(map(MaskRule, choosers, num_blocks))
        self.num_blocks = num_blocks
        self.draws = any(chooser.rule in DRAWN_RULES for chooser in choosers)

    def forward(self, gate: int, seen: Tensor, uniforms: Tensor | None) -> Tensor:
        """Masks of a gate, of uniform numbers [rows, all blocks]: bool [rows, num_blocks]."""
        start = sum(self.num_blocks[:gate])
        own = None if uniforms is None else uniforms[:, start : start + self.num_blocks[gate]]
        mask: Tensor = self.rules[gate](seen, own)
        return mask


def among(indices: Tensor, num_blocks: int) -> Tensor:
    """Which blocks are in lists: int64 [rows, k], -1 for none -> bool [rows, num_blocks].

    As `ccenv.base.masks.as_mask`, without a look at the values, which no graph could hold.

    >>> among(torch.tensor([[2, -1]]), 3)
    tensor([[False, False,  True]])
    """
    blocks = torch.arange(num_blocks, device=indices.device)
    return (indices.unsqueeze(2) == blocks).any(dim=1)
