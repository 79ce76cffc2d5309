"""Menus of masks: (frozen network, inputs, masks) -> error, nll and cost of each mask and input.

What masks have in common up to a gate is computed once: a menu of prefixes or of exits costs little
more than its dearest mask. Systems that choose among few offers ask for such a table (allocation
under a budget, a cascade, a search), and `ccenv.mask_table` has it of all masks there are.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ccenv.base.annotations import checks_types
from ccenv.base.values import positive_int, shortened, shown
from ccenv.mdp.dynamics import EpisodeState, StepOutcome, initial, transition
from ccenv.networks.core.abilities import Everywhere, ability
from ccenv.networks.core.protocol import Earlier, GatedNetwork, num_blocks_of
from ccenv.simulator.rollout import simulator_of

Batch = tuple[Tensor, Tensor]
"""Inputs and labels."""
Scores = Callable[[Any, StepOutcome], Tensor]
"""(network, what came of a mask) -> float64 [numbers, batch]."""


class MenuTable(NamedTuple):
    """What each mask of a menu gives each input of a split."""

    errors: Tensor
    """float64 [inputs, masks]: 1 where the answer is wrong; of a network that answers everywhere
    the share of wrong answers."""
    nll: Tensor
    """float64 [inputs, masks], nats."""
    compute_cost: Tensor
    """float64 [inputs, masks], executed MACs over the dense network's."""


@checks_types
def evaluate_menu(env: Any, menu: Any, *, split: str = "test", batch_size: int = 1000) -> MenuTable:
    """Evaluates every mask of a menu on every input of a split.

    Args:
        env: any environment of ccenv, or a `Simulator`; its network is used as it is now.
        menu: for each gate an array of bits [masks, num_blocks of the gate].
        split: "train", "validation" or "test".
        batch_size: inputs at a time; changes only speed and memory.

    Raises:
        TypeError: if `env` is no environment of ccenv.
        ValueError: if the menu has other shapes.

    Example:
        >>> import ccenv
        >>> settings = {"dataset": "synthetic", "weights": "cotrain", "num_blocks": [2]}
        >>> env = ccenv.BlockSelectionVectorEnv(4, **settings)
        >>> _ = env.reset(seed=0)
        >>> table = ccenv.evaluate_menu(env, [[[1, 1], [1, 0], [0, 0]]])
        >>> table.errors.shape[1], table.compute_cost[0].tolist()
        (3, [1.0, 0.5, 0.0])
    """
    positive_int(batch_size, "batch_size")
    simulator = simulator_of(env).on_split(split, batch_size)
    network, device = simulator.network, simulator.device
    masks = flat_menu(menu, simulator.num_blocks)
    parts = []
    for indices in torch.arange(len(simulator.data)).split(batch_size):
        batch = simulator.data.batch(indices.to(device))
        parts.append(judged(network, batch, masks, earlier=simulator.earlier))
    return MenuTable(*torch.cat(parts, dim=1))


def flat_menu(menu: Any, num_blocks: Sequence[int]) -> Tensor:
    """A menu's bits, gates side by side: bool [masks, sum(num_blocks)] (else ValueError)."""
    try:
        parts = [torch.as_tensor(part) for part in menu]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"expected a menu of bits [masks, num_blocks] for each gate, got {shown(menu)}: "
            f"{shortened(str(error))}"
        ) from error
    shapes = [list(part.shape) for part in parts]
    count = shapes[0][0] if shapes and shapes[0] else 0
    if count < 1 or shapes != [[count, blocks] for blocks in num_blocks]:
        raise ValueError(
            f"expected a menu of bits [masks, num_blocks] for each gate, num_blocks="
            f"{list(num_blocks)}, got shapes {shapes}"
        )
    flat = torch.cat([part.cpu() for part in parts], dim=1)
    if flat.dtype != torch.bool and not bool(((flat == 0) | (flat == 1)).all()):
        raise ValueError(f"expected the bits of a menu to be 0 or 1, got {flat.unique().tolist()}")
    return flat.bool()


def ends(
    network: GatedNetwork, state: EpisodeState, masks: Tensor, numbers: Tensor
) -> Iterator[tuple[int, StepOutcome]]:
    """Walks a batch through those of `masks`, bool [masks, num_units], that lead through a state.

    What they have in common at the start is computed once.
    """
    blocks = num_blocks_of(network)
    first = sum(blocks[: state.layer])
    own = masks[numbers, first : first + blocks[state.layer]]
    kinds, kind_of = own.unique(dim=0, return_inverse=True)
    for kind, bits in enumerate(kinds):
        here = numbers[kind_of == kind]
        rows = bits.to(state.labels.device).expand(len(state.labels), -1).contiguous()
        after, outcome = transition(network, state, rows)
        if outcome.is_last:
            yield from ((int(number), outcome) for number in here)
        else:
            yield from ends(network, after, masks, here)


@torch.no_grad()
def judged(
    network: GatedNetwork,
    batch: Batch,
    masks: Tensor,
    score: Scores | None = None,
    earlier: Earlier | None = None,
) -> Tensor:
    """Error, nll and cost of every mask for every input of a batch: float64 [3, batch, masks].

    Masks are bool [masks, num_units]; `score` gives other numbers of an outcome than `scores`.
    """
    score = score or scores
    found: list[Tensor] = [torch.empty(0)] * len(masks)
    state = initial(network, *batch, earlier=earlier)
    for number, outcome in ends(network, state, masks, torch.arange(len(masks))):
        found[number] = score(network, outcome)
    return torch.stack(found, dim=2)


def scores(network: Any, outcome: StepOutcome) -> Tensor:
    """Of each input: share of wrong answers, mean nll in nats, and cost: float64 [3, batch]."""
    assert outcome.logits is not None
    logits, labels = outcome.logits[:, None], outcome.labels[:, None]
    if outcome.answers is not None and outcome.targets is not None:
        logits, labels = outcome.answers, outcome.targets
    elif (language_model := ability(network, Everywhere)) is not None:
        logits = language_model.logits_everywhere(outcome.after.hidden)
        labels = torch.cat([outcome.after.images[:, 1:], labels], dim=1)
    flat, targets = logits.flatten(0, 1), labels.flatten()
    nll = nn.functional.cross_entropy(flat, targets, reduction="none").double()
    wrong = (flat.argmax(dim=1) != targets).double()
    of_inputs = [values.view(labels.shape).mean(dim=1) for values in (wrong, nll)]
    cost = outcome.macs.double() / network.dense_macs
    return torch.stack([*of_inputs, cost]).cpu()
