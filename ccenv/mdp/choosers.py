"""How masks are chosen, as data: (what a policy looks at) -> scores, and a rule -> masks.

Agents say by `choosers(deterministic=...)` how they choose; back ends read it. The functions are
what it means, in torch operations that a graph can hold too.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, logsigmoid

from ccenv.base.registry import check_names

K_RULES = ("top_k", "sampled_k")
SAMPLED_RULES = ("sampled_k", "sampled")
MIXED = "mixed"
RULES = (*K_RULES, "greedy", "sampled", MIXED)
TINY, ALMOST_ONE = 1e-20, 1 - 1e-7
"""Between them a logarithm of a logarithm is finite."""


@dataclass(frozen=True)
class Chooser:
    """How the mask of one gated layer is chosen from what the policy looks at."""

    maps: Sequence[tuple[Tensor, Tensor | None]] | Tensor
    """affine maps (weight [out, in], bias [out] or None) from look to scores; or float32 [blocks],
    scores that are the same for every input."""
    rule: str = "greedy"
    """"top_k" keeps the best k, "sampled_k" draws k one after the other with softmax probabilities
    (Kool, van Hoof, Welling 2019), "greedy" keeps those of positive score, "sampled" each one with
    probability low + (1 - 2 low) sigmoid(score), "mixed" the likelier one of the best block and
    none or those of positive coins, see `mixed_mode`; its maps lead to 2 blocks + 2 scores."""
    num_kept: int = 1
    """k of "top_k" and "sampled_k"."""
    low: float = 0.0
    """lowest keep probability of "sampled", to a millionth."""
    activation: str = "tanh"
    """between two maps: "tanh" or "relu"."""
    embeddings: Tensor | None = None
    """float32 [symbols, size]: the maps read the rows of a window's last symbols, side by side;
    None: what the network offers."""
    earlier: bool = False
    """whether the maps read what was seen at the earlier gates too, side by side, the first gate's
    first."""

    @property
    def keeps_all(self) -> bool:
        """Whether every block is kept, whatever the input."""
        if not isinstance(self.maps, Tensor) or self.rule != "greedy":
            return False
        return bool((self.maps > 0).all())

    def expected_share(self, blocks: int) -> float:
        """Share of the blocks that are kept, one half where that depends on the input."""
        if self.rule in K_RULES:
            return self.num_kept / blocks
        if not isinstance(self.maps, Tensor):
            return 0.5
        return float(
            (self.maps > 0 if self.rule == "greedy" else self.maps.sigmoid()).float().mean()
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


def are_sampled(choosers: Sequence[AnyChooser] | None) -> bool:
    """Whether masks are sampled by one of them."""
    return any(chooser.rule in SAMPLED_RULES for chooser in choosers or ())


def check_number(choosers: Sequence[AnyChooser] | None, num_gates: int) -> None:
    """Refuses choosers of which there is not one for each gate."""
    if choosers is not None and len(choosers) != num_gates:
        raise ValueError(
            f"expected a chooser for each of {num_gates} gated layers, got {len(choosers)}"
        )


def check_rule(chooser: Chooser, blocks: int) -> None:
    """Refuses a rule that does not fit a gate of so many blocks."""
    check_names([chooser.rule], RULES, "rule")
    check_names([chooser.activation], ("tanh", "relu"), "activation")
    if not 1 <= chooser.num_kept <= blocks:
        raise ValueError(f"expected num_kept in 1..{blocks}, got {chooser.num_kept}")


def check_maps(chooser: Chooser, look_size: int, blocks: int) -> None:
    """Refuses maps that do not lead from a look to the blocks."""
    if isinstance(chooser.maps, Tensor):
        if chooser.maps.shape != (blocks,):
            raise ValueError(f"expected {blocks} scores, got {list(chooser.maps.shape)}")
        return
    sizes = [(weight.shape[1], weight.shape[0]) for weight, _ in chooser.maps]
    scores = mixed_size(blocks) if chooser.rule == MIXED else blocks
    between = [look_size, *(out for _, out in sizes[:-1]), scores]
    if sizes != list(itertools.pairwise(between)):
        raise ValueError(f"expected maps from {look_size} features to {scores} scores, got {sizes}")


def read_by(chooser: AnyChooser, looks: Sequence[Tensor]) -> Tensor:
    """What the maps read of looks at the gates up to the present one: [rows, look_size] each."""
    if isinstance(chooser, Chooser) and chooser.earlier:
        return torch.cat(list(looks), dim=1)
    return looks[-1]


def mask_of(chooser: AnyChooser, seen: Tensor, uniform: Tensor | None, blocks: int) -> Tensor:
    """Masks, bool [rows, blocks], of what is seen, float32 [rows, look_size].

    What is drawn is drawn by `uniform`, float32 [rows, blocks] in [0, 1).
    """
    if isinstance(chooser, ListChooser):
        keys = key_of(seen[:, seen.shape[1] - chooser.num_keys :].long(), chooser.num_symbols)
        return among(embedding(keys, chooser.lists), seen, blocks)
    return kept_by(chooser, scores_of(chooser, seen), uniform)


def key_of(symbols: Tensor, num_symbols: int) -> Tensor:
    """Some symbols as one number, the last one counting least: int64 [rows, n] -> [rows].

    >>> key_of(torch.tensor([[1, 2]]), 10)
    tensor([12])
    """
    key = torch.zeros_like(symbols[:, 0])
    for column in range(symbols.shape[1]):
        key = key * num_symbols + symbols[:, column]
    return key


def kept_by(chooser: Chooser, scores: Tensor, uniform: Tensor | None) -> Tensor:
    """The rule alone: scores [rows, blocks], and numbers like them -> bool [rows, blocks]."""
    if chooser.rule == "greedy":
        return scores > 0
    if chooser.rule == MIXED:
        return mixed_mode(scores)
    if chooser.rule == "sampled":
        assert uniform is not None
        return uniform < chooser.low + (1 - 2 * chooser.low) * scores.sigmoid()
    if chooser.rule == "sampled_k":
        assert uniform is not None
        scores = scores - torch.log(-torch.log(uniform.clamp(TINY, ALMOST_ONE)))
    return among(scores.topk(chooser.num_kept, dim=1).indices, scores, scores.shape[1])


def mixed_size(blocks: int) -> int:
    """Scores of a mixture over masks of so many blocks, see `mixed_parts`."""
    return 2 * blocks + 2


def mixed_parts(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the one block that is kept, the last for none; of coins; of drawing one or none.

    A coin's logit is its own score and the block's as the one: what is found out by either way of
    drawing counts for the other. [rows, 2 blocks + 2] -> [rows, blocks + 1], [rows, blocks] and
    [rows].
    """
    blocks = scores.shape[1] // 2 - 1
    coins = scores[:, blocks + 1 : -1] + scores[:, :blocks]
    return scores[:, : blocks + 1], coins, scores[:, -1]


def log_shares(logits: Tensor, low: float = 0.0, high: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logarithms of a probability within [low, high], and of one minus it, elementwise.

    The probability is low + (high - low) sigmoid(logit); both are exact where it is near 0 or 1.

    >>> yes, no = log_shares(torch.tensor([0.0]), low=0.5)
    >>> yes.exp(), no.exp()
    (tensor([0.7500]), tensor([0.2500]))
    """
    yes, no = logsigmoid(logits), logsigmoid(-logits)
    if (low, high) == (0.0, 1.0):
        return yes, no
    share = low + (high - low) * logits.sigmoid()
    # Where an end is 0 or 1, the logarithm of the share is lost before the share's own is.
    log_share = share.log() if low else yes + math.log(high)
    return log_share, torch.log1p(-share) if high < 1 else no + math.log(1 - low)


def mixed_logs(scores: Tensor, floor: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a mixture draws by, as logarithms.

    Args:
        scores: [rows, 2 blocks + 2], see `mixed_parts`.
        floor: least share of either way of drawing, in [0, 0.2]; five times as often as that the
            one draw keeps a block.

    Returns:
        Log-probabilities of each block as the one and of none, [rows, blocks + 1]; logits of the
        coins, [rows, blocks]; log-probabilities of drawing one or none, and of coins, [rows] each.
    """
    one, coins, weight = mixed_parts(scores)
    some = one[:, :-1].logsumexp(dim=1)
    kept, none = log_shares(some - one[:, -1], low=5 * floor)
    of_blocks = one[:, :-1] + (kept - some)[:, None]
    return (
        torch.cat([of_blocks, none[:, None]], dim=1),
        coins,
        *log_shares(weight, floor, 1 - floor),
    )


def mixed_log_prob(scores: Tensor, mask: Tensor, floor: float = 0.0) -> Tensor:
    """Log-probability of masks under a mixture: bool [rows, blocks] -> [rows].

    One block or none is kept, drawn by a softmax; or a coin is tossed for each. A mask of one block
    at most can come from both, any other one from the coins alone. See `mixed_logs`.

    >>> scores = torch.zeros(4, 6)
    >>> masks = torch.tensor([[True, False], [False, True], [True, True], [False, False]])
    >>> mixed_log_prob(scores, masks).exp()
    tensor([0.2917, 0.2917, 0.1250, 0.2917])
    """
    one, coins, is_one, is_tossed = mixed_logs(scores, floor)
    # Minus the coin where a block is skipped: sums of logs, never the log of a product.
    tossed = logsigmoid(torch.where(mask, coins, -coins)).sum(dim=1) + is_tossed
    number = mask.sum(dim=1)
    drawn = torch.where(mask, one[:, :-1], 0.0).sum(dim=1)
    drawn = torch.where(number == 0, one[:, -1], drawn) + is_one
    return torch.where(number <= 1, torch.logaddexp(drawn, tossed), tossed)


def mixed_mode(scores: Tensor) -> Tensor:
    """The likelier one of the best block or none, and the coins' own mode: bool [rows, blocks].

    >>> scores = torch.tensor([[2.0, 0.0, -9.0, -1.0, 1.0, 0.0], [2.0, 0.0, -9.0, -1.0, 1.0, -3.0]])
    >>> mixed_mode(scores).int()
    tensor([[1, 0],
            [1, 1]], dtype=torch.int32)
    """
    one, coins, _ = mixed_parts(scores)
    blocks, tossed = coins.shape[1], coins > 0
    best = among(one.argmax(dim=1, keepdim=True), one, blocks + 1)[:, :blocks]
    is_one = mixed_log_prob(scores, best) > mixed_log_prob(scores, tossed)
    return torch.where(is_one[:, None], best, tossed)


def among(indices: Tensor, like: Tensor, blocks: int) -> Tensor:
    """Which blocks are in lists: int64 [rows, k] -> bool [rows, blocks].

    As `ccenv.base.masks.mask_of_indices`, without a look at the values, which no graph could hold.

    >>> among(torch.tensor([[2, 0]]), torch.zeros(1, 9), 3)
    tensor([[ True, False,  True]])
    """
    nothing = torch.zeros_like(like[:, :1], dtype=torch.bool).expand(-1, blocks)
    return nothing.scatter(1, indices, True)


def scores_of(chooser: Chooser, seen: Tensor) -> Tensor:
    """Scores of what is seen: [rows, look_size] -> [rows, blocks]."""
    if isinstance(chooser.maps, Tensor):
        return chooser.maps.expand(seen.shape[0], -1)
    activate = torch.tanh if chooser.activation == "tanh" else torch.relu
    for number, (weight, bias) in enumerate(chooser.maps):
        if number == 0 and chooser.embeddings is not None:
            seen = embedded_map(seen, chooser.embeddings, weight, bias)
        else:
            seen = linear(activate(seen) if number else seen, weight, bias)
    return seen


def embedded_map(seen: Tensor, table: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A map that reads plain columns, and for each symbol its numbers in place of one column."""
    columns = seen.shape[1]
    wider = weight.shape[1] - columns
    symbols = wider // (table.shape[1] - 1) if wider else columns
    plain, last = seen[:, : columns - symbols], seen[:, columns - symbols :].long()
    if not is_identity(table):
        return linear(torch.cat([plain, embedding(last, table).flatten(1)], dim=1), weight, bias)
    # One-hot symbols: nothing is multiplied, rows are added up.
    starts = columns - symbols + len(table) * torch.arange(symbols, device=seen.device)
    rows = embedding(last + starts, weight.t()).sum(dim=1)
    return rows + linear(plain, weight[:, : columns - symbols], bias)


def is_identity(table: Tensor) -> bool:
    """Whether symbols are read one-hot."""
    return table.shape[0] == table.shape[1] and torch.equal(table, torch.eye(len(table)).to(table))
