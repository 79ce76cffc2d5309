"""Few masks on a batch: (network, inputs, a menu of masks) -> error, nll and cost of each.

Systems that choose among few offers ask what each gives each input (allocation under a budget, a
search); `ccenv.mask_table.walk` has it of all masks there are.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.mdp.dynamics import EpisodeState, StepOutcome, initial, transition
from ccenv.networks.core.abilities import Everywhere, ability
from ccenv.networks.core.protocol import Earlier, GatedNetwork, num_blocks_of

Batch = tuple[Tensor, Tensor]
"""Inputs and labels."""
Scores = Callable[[Any, StepOutcome], Tensor]
"""(network, what came of a mask) -> float64 [numbers, batch]."""


def walk_menu(
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
            yield from walk_menu(network, after, masks, here)


@torch.no_grad()
def menu_scores(
    network: GatedNetwork,
    batch: Batch,
    masks: Tensor,
    score: Scores | None = None,
    earlier: Earlier | None = None,
) -> Tensor:
    """Error, nll and cost of every mask for every input of a batch: float64 [3, batch, masks].

    Masks are bool [masks, num_units]; another `score` gives other numbers of an outcome.
    """
    found: list[Tensor] = [torch.empty(0)] * len(masks)
    state = initial(network, *batch, earlier=earlier)
    for number, outcome in walk_menu(network, state, masks, torch.arange(len(masks))):
        found[number] = (score or answer_scores)(network, outcome)
    return torch.stack(found, dim=2)


def answer_scores(network: Any, outcome: StepOutcome) -> Tensor:
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
