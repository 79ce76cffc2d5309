"""Stages of a `GatedSequential`: (features, block mask) -> features; a stage says what a block is.

class ScaledUnit(Stage):                       # one block, skipped means identity
    skipped = "identity"

    def __init__(self, body):
        super().__init__()
        self.body = body

    def compute(self, x, mask, before, weights, backend):
        return add_kept_rows(x, self.body, x, mask, weights)
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ccenv.base.masks import spread_to_units
from ccenv.networks.core.count_macs import counted
from ccenv.sparse.routes import hides_skipped
from ccenv.sparse.rows import can_merge, merged

LAST = torch.channels_last
Rows = Tensor | None
"""A mask or weights [rows, blocks]; None: all of every row."""
NO_ROWS = torch.empty(0, dtype=torch.int64)
NOTHING = torch.zeros(1, 1, dtype=torch.bool)
"""Mask of one row that keeps nothing of one block."""
LOOK_SIDE = 2
"""Maps are averaged to so many pixels a side before a policy sees them."""
WIDE_SIDE = 16
"""Maps of so many pixels a side are averaged line by line; measured."""
MANY_ROWS = 4
"""Of so many rows and more; torch's own pooling is quicker at one."""


class Stage(nn.Module):
    """One gate of a network: defines its blocks, their output when skipped, and their cost.

    `forward(x, mask=None, before=None, weights=None, backend="auto")` runs it. A subclass defines
    `compute`, with the same arguments and without defaults:

    - x: [rows, ...]; never changed in place.
    - mask: bool [rows, num_blocks], True = computed; None keeps everything: the plain module.
    - before: bool [rows, blocks of the stage before]; which blocks of x are not zero, None for all.
      Only stages whose `marks_output` is True pass it on.
    - weights: float [rows, num_blocks]; they scale the outputs of kept blocks.
    - backend: "reference" computes everything and masks; "cpu" and "gpu" compute kept blocks only;
      "auto" takes the faster one. Skipped blocks reach no output, even if they hold NaN.

    >>> import torch
    >>> from torch import nn
    >>> from ccenv.networks.vision.residual import ResidualUnit
    >>> unit = ResidualUnit(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()))
    >>> isinstance(unit, Stage), unit.num_blocks, unit.skipped
    (True, 1, 'identity')
    >>> x = torch.rand(2, 4, 8, 8)
    >>> y = unit(x, torch.tensor([[True], [False]]))
    >>> torch.equal(y[0], x[0]), torch.equal(y[1], x[1])
    (False, True)
    """

    skipped: ClassVar[str] = "zero"
    """see `ccenv.networks.core.protocol.Gate`."""
    marks_output: ClassVar[bool] = False
    """whether the output consists of the blocks, side by side along dimension 1."""
    shares_rows: ClassVar[bool] = False
    """whether x may have a row for several neighbouring rows of the mask: masks of one input."""
    lists_rows: ClassVar[bool] = False
    """whether the host lists the rows that keep a block; few on a GPU are computed as by
    "reference" instead, which it need not wait for."""
    tells_norms: ClassVar[bool] = True
    """whether its output shows how large each block is."""
    block_dims: ClassVar[Mapping[str, int]] = {}
    """weights, or modules of it, that only kept blocks read -> the dimension in which blocks lie
    side by side; see `Owns.unread_entries`."""
    input_dims: ClassVar[Mapping[str, int]] = {}
    """weights that read x -> the dimension in which the blocks of x lie side by side."""
    num_blocks: int = 1
    """bits of its mask."""
    full_macs: int = 0
    """of one input with everything kept; set by `measure`."""

    def measure(self, x: Tensor) -> Tensor:
        """Learns what it costs from an example: [1, ...] -> its output with everything kept."""
        self.full_macs, y = counted(self, x)
        return y

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        before: Tensor | None = None,
        weights: Tensor | None = None,
        backend: str = "auto",
    ) -> Tensor:
        """Its output, see the class."""
        if self.lists_rows and mask is not None and hides_skipped(x, self.full_macs, backend):
            backend = "reference"
        return self.compute(x, mask, before, weights, backend)

    def compute(self, x: Tensor, mask: Rows, before: Rows, weights: Rows, backend: str) -> Tensor:
        """What `forward` gives: to be defined."""
        raise NotImplementedError

    def macs(self, mask: Tensor, before: Tensor | None) -> Tensor:
        """What `forward` executes under masks: int64 [rows]; blocks of equal cost by default."""
        return mask.sum(dim=1) * (self.full_macs // self.num_blocks)

    def least_macs(self) -> int:
        """MACs that are spent even if nothing is kept, here or before."""
        return 0

    def look(self, x: Tensor) -> Tensor:
        """Features offered of its input: [rows, ...] -> float [rows, look_size]."""
        return pooled(x)

    def of_one(self, x: Tensor, kept: bool) -> Tensor:
        """`forward` of one row of a stage of one block, without gradients: [1, ...] -> [1, ...]."""
        y: Tensor = self(x, None if kept else NOTHING)
        return y

    def unread(self, off: Tensor, before: Tensor | None) -> dict[Tensor, Tensor]:
        """Entries of its weights that nothing reads: weight -> bool of its shape.

        Args:
            off: bool [num_blocks]; which of its blocks no row keeps.
            before: likewise of the blocks of x; None where these are all read.
        """
        cuts = [(part, dim, off) for part, dim in self.block_dims.items()]
        if before is not None:
            cuts += [(part, dim, before) for part, dim in self.input_dims.items()]
        unread: dict[Tensor, Tensor] = {}
        for name, weight in self.named_parameters():
            for part, dim, blocks in cuts:
                if f"{name}.".startswith(f"{part}."):
                    entries = spread_to_units(blocks, weight, dim)
                    unread[weight] = unread[weight] | entries if weight in unread else entries
        return unread

    def block_norms(self, y: Tensor) -> Tensor:
        """Root mean square of each block of its output: [rows, ...] -> [rows, num_blocks]."""
        return y.flatten(1).unflatten(1, (self.num_blocks, -1)).square().mean(dim=2).sqrt()


def pooled(x: Tensor) -> Tensor:
    """Features without their places: maps averaged to 2 x 2, tokens over the sequence.

    >>> pooled(torch.zeros(3, 16, 8, 8)).shape, pooled(torch.zeros(3, 7, 16)).shape
    (torch.Size([3, 64]), torch.Size([3, 16]))
    """
    if x.ndim == 4:
        # The number of rows is asked last: where it is open, in an exported graph, nobody asks.
        is_wide = min(x.shape[2:]) >= WIDE_SIDE and is_even(x) and is_channels_last(x)
        if is_wide and len(x) >= MANY_ROWS:
            return pooled_by_lines(x)
        return nn.functional.adaptive_avg_pool2d(x, LOOK_SIDE).flatten(1)
    return x.mean(dim=1) if x.ndim == 3 else x.flatten(1)


def is_even(x: Tensor) -> bool:
    """Whether maps can be cut in equal halves both ways."""
    return not x.shape[2] % 2 and not x.shape[3] % 2


def pooled_by_lines(x: Tensor) -> Tensor:
    """`pooled` of maps in channels-last order, line by line: three times as fast on 32 x 32."""
    rows, channels, height, width = x.shape
    lines = x.permute(0, 2, 3, 1).reshape(rows, 2, height // 2, width * channels).mean(dim=2)
    means = lines.view(rows, 2, 2, width // 2, channels).mean(dim=3)
    return means.permute(0, 3, 1, 2).flatten(1)


def add_kept_rows(
    base: Tensor,
    body: Callable[[Tensor], Tensor],
    x: Tensor,
    mask: Tensor | None,
    weights: Tensor | None = None,
    after: Callable[[Tensor], Tensor] | None = None,
    settled: bool = False,
) -> Tensor:
    """after(base + body(x)) of the rows that keep it; the others, after(base), are not computed.

    Rows are gathered, the body runs once for them, and a copy of the base takes their results.

    Args:
        base: [rows, ...], what is added to.
        body: [rows, ...] -> a tensor of the base's shape.
        x: [rows, ...], what the body reads.
        mask: bool [rows, 1]; None keeps every row.
        weights: float [rows, 1]; the body's output is multiplied with it.
        after: applied to the sum, which has no other user: it may work in place if `settled`.
        settled: whether after(base) is base.
    """
    after = (lambda y: y) if after is None else after
    rows = kept_rows(mask)
    if rows is None:
        return after(base + scaled(body(x), weights))
    skipped = base if settled else after(base)
    if not rows.shape[0]:
        return skipped
    some = take_rows(x, rows)
    few = None if weights is None else weights.index_select(0, rows)
    added = scaled(body(some), few)
    if settled and type(after) in (nn.ReLU, nn.Identity) and can_merge(base, added):
        return merged(base, added, rows, relu=type(after) is nn.ReLU)
    sums = some if base is x else take_rows(base, rows)
    return put_rows(skipped, rows, after(sums + added))


def kept_rows(mask: Tensor | None) -> Tensor | None:
    """Which rows keep their one block: bool [rows, 1] -> int64 [kept]; None for every row."""
    if mask is None:
        return None
    if mask.shape[0] == 1:
        return None if bool(mask) else NO_ROWS
    rows = mask.flatten().nonzero().squeeze(1)
    return None if rows.shape[0] == mask.shape[0] else rows


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Rows of features, in the order of memory that these have: [n, ...] -> [len(rows), ...]."""
    # Torch gathers maps in channels-last order into the other order, and every convolution behind
    # would change it back: that alone cost a sixth of the time.
    if is_channels_last(x):
        return x.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return x.index_select(0, rows)


def put_rows(x: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """A copy of features with other values [len(rows), ...] in some rows."""
    values = values.to(x.dtype)
    if is_channels_last(x):
        inner = x.permute(0, 2, 3, 1).index_copy(0, rows, values.permute(0, 2, 3, 1))
        return inner.permute(0, 3, 1, 2)
    return x.index_copy(0, rows, values)


def is_channels_last(x: Tensor) -> bool:
    """Whether maps [rows, channels, height, width] lie pixel by pixel in memory."""
    return x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=LAST)


def scaled(y: Tensor, weights: Tensor | None) -> Tensor:
    """Multiplies each row with its weight: [rows, ...], [rows, 1] or None."""
    return y if weights is None else y * weights.reshape(-1, *[1] * (y.ndim - 1))
