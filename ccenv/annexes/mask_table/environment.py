"""Agents on a table: (tables, settings) -> a simulator that looks up; (policy, rows) -> chances.

The simulated environment with a `TableNetwork` inside, so that every view, every reward and every
agent of this package works on a table as on the network itself; what agents reach is a sum over all
masks instead of a sample. Inputs are their rows in the tables, their label is always 0; a right
answer is class 0, and nll is the table's. What is seen at a gate: the stored look and the bits that
ran so far.

What a table cannot do: gate values, and slopes of the network by them. Agents that go back through
the network (`straight_through`, `gumbel`, `topk`, `dynamic_gate`, ...) are refused by the first
`step` that they ask for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.annexes.mask_table.header import has_all_masks
from ccenv.annexes.mask_table.table import SCORES, MaskTable
from ccenv.base.registry import check_names
from ccenv.data import Split
from ccenv.networks.core.protocol import Gate, GatedNetwork

SURE = 16.0
"""Nll in nats of a wrong answer where a table holds bits alone, or is asked for right or wrong."""
NEVER = -100.0
"""Log-probability of what does not happen: finite, and 0 next to all others."""


@dataclass(frozen=True)
class Prefix:
    """Where inputs are: hidden state of a `TableNetwork`."""

    rows: Tensor
    """int64 [batch]; which inputs."""
    numbers: Tensor
    """int64 [batch]; of the masks so far, as the table counts them."""
    bits: Tensor
    """float32 [batch, units so far]; as executed."""
    running: Tensor
    """bool [batch]; False behind an exit that was taken."""


class TableNetwork(GatedNetwork):
    """What a frozen network gave, from memory."""

    right: Tensor
    nll: Tensor
    looks: Tensor

    def __init__(self, tables: Sequence[MaskTable], score: str = "log_likelihood") -> None:
        """Takes the tables of one network, whose inputs are counted through.

        Args:
            tables: whole, with looks, MACs and, for "log_likelihood", nll.
            score: "log_likelihood", or "right": answers are then sure of themselves, and tables of
                bits alone will do.

        Raises:
            ValueError: if tables differ in network or masks, or lack what is needed.
        """
        super().__init__()
        check_names([score], SCORES, "score")
        check_one_network(tables, score)
        self.header = header = tables[0].header
        self.num_classes, self.dense_macs = header.num_classes, header.dense_macs
        right = np.concatenate([table.is_right() for table in tables])
        self.register_buffer("right", torch.from_numpy(right))
        stored = [table.nll for table in tables if table.nll is not None]
        # Being right or wrong stands for an nll where that is the score.
        sure = np.where(right, 0, SURE).astype(np.float16)
        nll = sure if score == "right" else np.concatenate(stored)
        self.register_buffer("nll", torch.from_numpy(nll))
        looks = np.concatenate([np.asarray(table.look, np.float32) for table in tables])
        self.register_buffer("looks", torch.from_numpy(looks))
        for gate in range(len(header.gates)):
            bill = tables[0].bills_of(gate)
            self.register_buffer(f"bills{gate}", torch.from_numpy(bill.copy()))
        before = np.cumsum([0, *(count for _, count, _ in header.gates)]).tolist()
        self.gates = tuple(
            Gate(name, count, looks.shape[1] + before[gate], skipped)
            for gate, (name, count, skipped) in enumerate(header.gates)
        )

    def start(self, inputs: Tensor) -> Prefix:
        """Rows int64 [n, 1] -> where they are before the first gate."""
        rows = inputs[:, 0]
        bits, running = torch.zeros(len(rows), 0), torch.ones_like(rows, dtype=torch.bool)
        return Prefix(rows, torch.zeros_like(rows), bits.to(rows.device), running)

    def step(
        self,
        gate: int,
        hidden: Prefix,
        mask: Tensor | None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Prefix:
        """Goes on to the prefix with a gate's mask; see `GatedNetwork.step`.

        Raises:
            ValueError: if there are gate values: a table has none.
        """
        if weights is not None:
            raise ValueError(
                "expected masks alone, got gate values: a table holds no answers for them and no "
                "slopes; agents that scale blocks or go back through the network need the network "
                "itself, in the simulated environment"
            )
        blocks = self.gates[gate].num_blocks
        if mask is None:
            mask = hidden.rows.new_ones(len(hidden.rows), blocks).bool()
        hidden = for_rows(hidden, len(mask))
        mask = self.executed(gate, hidden, mask)
        running = hidden.running
        if self.gates[gate].skipped == "stop":
            running = running & mask.any(dim=1)
        numbers = (hidden.numbers << blocks) + numbers_of_masks(mask)
        return Prefix(hidden.rows, numbers, torch.cat([hidden.bits, mask.float()], 1), running)

    def executed(self, gate: int, hidden: Prefix, mask: Tensor) -> Tensor:
        """A mask without what is ignored behind an exit."""
        return mask & for_rows(hidden, len(mask)).running[:, None]

    def logits(self, hidden: Prefix, backend: str = "auto") -> Tensor:
        """Answers [batch, num_classes]: log-probabilities, of class 0 the label's.

        The others are what a right or a wrong answer asks for: the rest of the probability lies on
        class 1 where the answer is wrong, and is spread evenly where it is right.
        """
        right = self.right[hidden.rows, hidden.numbers]
        label = -self.nll[hidden.rows, hidden.numbers].float()
        rest = (-torch.expm1(label)).log().clamp(min=NEVER)
        even = torch.minimum(rest - math.log(self.num_classes - 1), label)
        logits = torch.where(right, even, NEVER)[:, None].repeat(1, self.num_classes)
        # By rounding to 16 bits a wrong answer may seem as sure as the right one.
        above = torch.maximum(rest, label + 1e-4)
        logits[:, 1] = torch.where(right, even, above)
        logits[:, 0] = label
        return logits

    def look(self, gate: int, hidden: Prefix) -> Tensor:
        """Features offered at a gate, and the bits that ran: float32 [batch, look_size]."""
        return torch.cat([self.looks[hidden.rows], hidden.bits], dim=1)

    def macs(self, gate: int, hidden: Prefix, mask: Tensor) -> Tensor:
        """MACs by the table: int64 [batch]."""
        hidden = for_rows(hidden, len(mask))
        numbers = (hidden.numbers << mask.shape[1]) + numbers_of_masks(
            mask & hidden.running[:, None]
        )
        bill: Tensor = getattr(self, f"bills{gate}")[numbers]
        if gate == 0:
            return bill
        before: Tensor = getattr(self, f"bills{gate - 1}")
        return bill - before[hidden.numbers]


def rows_at(hidden: Prefix, places: Tensor) -> Prefix:
    """Some rows of a state: places int64 [n]."""
    parts = (hidden.rows, hidden.numbers, hidden.bits, hidden.running)
    return Prefix(*(part[places.to(part.device)] for part in parts))


def for_rows(hidden: Prefix, rows: int) -> Prefix:
    """A state of one row an input, for the neighbouring rows that hold the same input."""
    if len(hidden.rows) == rows:
        return hidden
    places = torch.arange(len(hidden.rows)).repeat_interleave(rows // len(hidden.rows))
    return rows_at(hidden, places)


def numbers_of_masks(mask: Tensor) -> Tensor:
    """Numbers whose bits masks are, the first as the highest: [batch, blocks] -> int64 [batch]."""
    powers = 1 << torch.arange(mask.shape[1] - 1, -1, -1, device=mask.device)
    return (mask * powers).sum(dim=1)


def check_one_network(tables: Sequence[MaskTable], score: str) -> None:
    """Refuses tables that are not of one network, or lack what is needed."""
    first = tables[0].header
    for table in tables:
        table.check_has(score)
        for name in ("weights", "gates", "menus", "num_classes"):
            expected, got = getattr(first, name), getattr(table.header, name)
            if expected != got:
                raise ValueError(
                    f"expected tables of one network, got another {name}: {got!r} next to "
                    f"{expected!r}"
                )
        if not has_all_masks(table.header.menus):
            raise ValueError(
                "expected tables of all masks, got one of a menu; build one of all: ccenv table "
                "build"
            )


def settings_of_tables(
    fitting: MaskTable,
    judging: MaskTable | None = None,
    *,
    choosing: int = 256,
    score: str = "log_likelihood",
) -> dict[str, Any]:
    """Settings of the environment over tables, for every view and for `Simulator`.

    Args:
        fitting: table whose inputs are learned by.
        judging: of the split "test"; None: the inputs that choose judge too.
        choosing: inputs of `fitting`, the last ones, that are the split "validation".
        score: see `TableNetwork`.

    Raises:
        ValueError: if the tables do not go together or lack something.

    >>> import ccenv
    >>> from ccenv.annexes.mask_table import shipped_table
    >>> settings = settings_of_tables(shipped_table("resnet20"), score="right")
    >>> env = ccenv.BlockSelectionVectorEnv(4, **settings)
    >>> int(env.single_action_space.n), len(env.reset(seed=0)[0])
    (1, 4)
    """
    count = fitting.header.num_images
    if not 0 < choosing < count:
        raise ValueError(f"expected choosing in 1..{count - 1} inputs, got {choosing}")
    chosen = range(count - choosing, count)
    judged = chosen if judging is None else range(count, count + judging.header.num_images)
    # Rows among the tables' inputs, counted through.
    parts = {"train": range(count - choosing), "validation": chosen, "test": judged}

    def data(split: str) -> Split:
        rows = torch.tensor(list(parts[split]), dtype=torch.int64)
        return Split(rows[:, None], torch.zeros_like(rows), fitting.header.num_classes)

    tables = [fitting] if judging is None else [fitting, judging]
    network = TableNetwork(tables, score)
    return {"network": network, "dataset": data, "weights": "frozen"}
