"""Prepares single inputs for a page: pictures, masks, costs, logits, weights and policies.

Everything is plain data; `inputs.js` draws it. Networks that the page can run (fully connected, of
few weights) come along with it, so that a reader may switch blocks; of others the page shows what
was computed here, and says why no more. Runs that learned under a cost weight or a budget are
judged at some of them.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.envs.rendering import as_words, is_symbols, small_png_uri
from ccenv.networks.core.lowering import Affine, Blocks, lowered, why_not_lowered
from ccenv.networks.core.parameters import weights_of
from ccenv.runs.engine.metadata import values_over
from ccenv.runs.replay.rebuilt import Rebuilt, Walked, walk_inputs
from ccenv.sparse.linear import ACTIVATIONS

MOST_WEIGHTS = 1_000_000
"""Weights of a network that a page carries: 4 MB, and a third more as text."""
NUM_SHOWN = 24
"""Inputs of each order: the first, the hardest, those on which two runs differ."""
View = dict[str, Any]
LARGEST_SIDE = 96
"""Pixels of a picture's longer side on the page; larger ones lose every second row and column."""
NUM_PRICES = 9
"""Judged: both ends of a range and seven between them; an odd number, the middle is among them."""


@dataclass(frozen=True)
class Priced:
    """What a policy does with the same inputs at several cost weights."""

    name: str
    """"cost_weight" or "budget"."""
    values: tuple[float, ...]
    """of it, increasing."""
    fixed: dict[str, float]
    """the other one meanwhile, in the middle of its range, where there is another."""
    walked: tuple[Walked, ...]
    """for each value."""

    @property
    def middle(self) -> Walked:
        """What is shown first."""
        return self.walked[len(self.walked) // 2]


def walk_prices(run: Rebuilt, draw: str) -> Priced | None:
    """Walks test inputs over a run's range of cost weights or budgets; None where it has none."""
    context = run.env.simulator.context
    if context is None:
        return None
    ranges = context.ranges
    drawn = [name for name, found in ranges.items() if found.low < found.high]
    if not drawn:
        return None
    name, half = drawn[0], torch.tensor(0.5)
    fixed = {other: float(ranges[other].at(half)) for other in ranges if other != name}
    values = values_over(ranges[name], NUM_PRICES)
    walked = tuple(walk_inputs(run, draw, fixed | {name: value}) for value in values)
    return Priced(name, tuple(values), fixed, walked)


def price_view(run: Rebuilt, priced: Priced) -> View:
    """What the slider needs: the judged cost weights, and what comes out at each."""
    verdicts = []
    for walked in priced.walked:
        wrong = walked.logits.argmax(dim=1) != walked.labels
        # The policy's own cost is left out.
        cost = walked.macs.sum(dim=1).double().mean() / run.network.dense_macs
        verdicts.append({"error": wrong.double().mean().item(), "cost": cost.item()})
    return {
        "name": priced.name,
        "values": list(priced.values),
        "fixed": priced.fixed,
        "num_inputs": len(priced.middle.labels),
        "verdicts": verdicts,
    }


def layer_view(found: Affine) -> View:
    """An affine map: sizes, float32 weights [out, in] and biases, activation, blocks of its gate.

    Biases are zeros where there are none, blocks are 0 where there is no gate.
    """
    weight = found.weight.detach().cpu()
    bias = weight.new_zeros(len(weight)) if found.bias is None else found.bias.detach().cpu()
    return {
        "inputs": weight.shape[1],
        "outputs": weight.shape[0],
        "weight": floats(weight),
        "bias": floats(bias),
        "activation": found.activation,
        "blocks": found.num_blocks if isinstance(found, Blocks) else 0,
    }


def floats(tensor: Tensor) -> str:
    """float32 in the order of rows, little-endian, as base64."""
    array = np.ascontiguousarray(tensor.numpy(), dtype="<f4")
    return base64.b64encode(array.tobytes()).decode()


def view_of(runs: Mapping[str, Rebuilt], draw: str) -> View:
    """What `inputs.js` draws.

    Raises:
        ValueError: if two runs are on different inputs.
    """
    priced = [walk_prices(run, draw) for run in runs.values()]
    walked = [
        walk_inputs(run, draw) if prices is None else prices.middle
        for run, prices in zip(runs.values(), priced, strict=True)
    ]
    first = walked[0]
    if any(one.inputs.shape != first.inputs.shape for one in walked) or any(
        not torch.equal(one.inputs, first.inputs) for one in walked
    ):
        names = [run.plan.environment["dataset"] for run in runs.values()]
        raise ValueError(
            f"expected runs on the same test inputs, got {' and '.join(names)}, or different "
            "transforms or episodes; choose two runs of one data set"
        )
    orders = orders_of(walked)
    chosen = list(dict.fromkeys(index for found in orders.values() for index in found))
    places = {index: place for place, index in enumerate(chosen)}
    one_run = next(iter(runs.values()))
    letters = one_run.env.simulator.data.letters
    symbols = (
        None if letters is None else [as_words(np.array([n]), letters) for n in range(len(letters))]
    )
    agents = [
        agent_view(name, run, prices) | {"seen": blocks_seen(one, letters)}
        for (name, run), one, prices in zip(runs.items(), walked, priced, strict=True)
    ]
    needs_numbers = any(agent["network"] for agent in agents)
    return {
        "dataset": str(one_run.plan.environment["dataset"]),
        "classes": symbols,
        "masks": draw,
        "is_sequence": first.positions > 1,
        "agents": agents,
        "orders": {name: [places[i] for i in found] for name, found in orders.items()},
        "inputs": [
            sequence_view(walked, agents, index, letters)
            if first.positions > 1
            else input_view(first, index, needs_numbers, letters)
            | {
                "runs": [
                    outcome_view(one, index)
                    | ({"prices": [outcome_view(w, index) for w in own.walked]} if own else {})
                    for one, own in zip(walked, priced, strict=True)
                ]
            }
            for index in chosen
        ],
    }


def orders_of(walked: Sequence[Walked]) -> dict[str, list[int]]:
    """Name of an order -> test inputs in it, or test sequences, by means over their positions."""
    first = walked[0]
    nll = first.nll.unflatten(0, (-1, first.positions)).mean(dim=1)
    orders = {
        "as they come": list(range(min(NUM_SHOWN, len(nll)))),
        "hardest first": nll.argsort(descending=True)[:NUM_SHOWN].tolist(),
    }
    if len(walked) > 1:
        # Answers first, then the share of MACs.
        other = walked[1]
        answers = first.logits.argmax(dim=1) != other.logits.argmax(dim=1)
        macs = (first.macs.sum(dim=1) - other.macs.sum(dim=1)).abs().double()
        differ = answers.double() + macs / (1 + macs.max())
        differ = differ.unflatten(0, (-1, first.positions)).mean(dim=1)
        found = differ.argsort(descending=True, stable=True)[:NUM_SHOWN]
        if some := [i for i in found.tolist() if differ[i] > 0]:
            orders["agents differ"] = some
    return orders


def agent_view(name: str, run: Rebuilt, prices: Priced | None) -> View:
    """A run's gates and its network, or why the page cannot run that; its cost weights, if any."""
    network = run.network
    # A position of a sequence starts from what other masks left: no page runs that.
    over_inputs = not run.env.simulator.is_sequence
    runs_here, why = network_view(network) if over_inputs else (None, "")
    return {
        "name": name,
        "agent": run.plan.agent,
        "network": runs_here,
        "why": why,
        "price": prices and price_view(run, prices),
        "dense_macs": int(network.dense_macs),
        "policy_macs": [int(macs) for macs in run.agent.policy_macs],
        "gates": [
            {"name": g.name, "blocks": g.num_blocks, "skipped": g.skipped} for g in network.gates
        ],
    }


def network_view(network: Any) -> tuple[View | None, str]:
    """Weights of a network that the page can run, or None and why not."""
    count = sum(p.numel() for p in weights_of(network))
    still = "so blocks cannot be switched here; what is shown was computed by Python"
    found = () if why_not_lowered(network) else lowered(network).operations
    maps = [one for one in found if isinstance(one, Affine) and not one.tables]
    is_known = all(one.activation in (None, *ACTIVATIONS) for one in maps)
    if not maps or len(maps) < len(found) or not is_known:
        return None, f"This page runs fully connected networks alone, {still}."
    if count > MOST_WEIGHTS:
        return None, f"{count:,} weights are too many for a page ({MOST_WEIGHTS:,}), {still}."
    return {"layers": [layer_view(one) for one in maps]}, ""


def input_view(walked: Walked, index: int, needs_numbers: bool, letters: np.ndarray | None) -> View:
    """One test input as it is shown."""
    values = walked.inputs[index].cpu().numpy()
    if is_symbols(values):
        shown = {"text": as_words(values, letters)}
    else:
        shown = {"picture": small_png_uri(values, LARGEST_SIDE)}
    if needs_numbers:
        shown["values"] = floats(torch.from_numpy(values.astype(np.float32)).flatten())
    return {"index": index, "label": int(walked.labels[index]), **shown}


def sequence_view(
    walked: Sequence[Walked], agents: Sequence[View], index: int, letters: np.ndarray | None
) -> View:
    """One test sequence: a name of each position, and what each run does there."""
    first = walked[0]
    rows = slice(index * first.positions, (index + 1) * first.positions)
    inputs = first.inputs[rows].cpu()
    if is_symbols(inputs[0].numpy()):
        # The last symbol of a window is the one just read.
        shown: View = {"places": [as_words(window[-1:], letters) for window in inputs.numpy()]}
    else:
        shown = {"places": [str(place) for place in range(first.positions)]}
        shown["picture"] = small_png_uri(inputs.flatten(1).t()[None].numpy(), LARGEST_SIDE)
    runs = [
        {
            "kept": [mask[rows].sum(dim=1).tolist() for mask in one.masks],
            "costs": (one.macs[rows].sum(dim=1).double() / agent["dense_macs"]).tolist(),
            "nll": [float(f"{nats:.4g}") for nats in one.nll[rows].tolist()],
        }
        for one, agent in zip(walked, agents, strict=True)
    ]
    return {"index": index, "labels": first.labels[rows].tolist(), **shown, "runs": runs}


def outcome_view(walked: Walked, index: int) -> View:
    """Masks as 0 and 1, MACs gate by gate, logits."""
    return {
        "masks": ["".join("01"[bit] for bit in mask[index].tolist()) for mask in walked.masks],
        "macs": walked.macs[index].tolist(),
        "logits": [float(f"{value:.7g}") for value in walked.logits[index].tolist()],
    }


MOST_BLOCKS = 160
"""Blocks of a network whose pictures a page carries."""
SIDE = 32
"""Pixels of a picture's longer side."""
MOST_NAMED = 3
"""Classes, or last symbols of a text, that are named."""


def blocks_seen(walked: Walked, letters: np.ndarray | None = None) -> list[list[dict[str, Any]]]:
    """For each gate and block its share of inputs, classes, and picture or last symbols.

    Returns:
        Nothing where the network has more blocks than a page holds.
    """
    if sum(mask.shape[1] for mask in walked.masks) > MOST_BLOCKS:
        return []
    return [[seen_by(walked, kept, letters) for kept in mask.T] for mask in walked.masks]


def seen_by(walked: Walked, kept: Tensor, letters: np.ndarray | None) -> dict[str, Any]:
    """What one block sees.

    Args:
        walked: inputs and labels.
        kept: [n] bool, inputs for which it is computed.
        letters: of symbols.
    """
    share = float(f"{kept.double().mean().item():.3g}")
    inputs, kept = walked.inputs.cpu(), kept.cpu()
    if not kept.any():
        return {"share": share, "classes": []}
    if is_symbols(inputs[0].numpy()):
        last = [np.array([symbol]) for symbol in favoured_symbols(inputs[:, -1], kept)]
        return {"share": share, "classes": [], "text": [as_words(one, letters) for one in last]}
    chosen = inputs[kept]
    picture = small_png_uri(chosen.float().mean(dim=0).numpy(), SIDE)
    return {"share": share, "classes": favoured(walked.labels, kept), "picture": picture}


def favoured_symbols(last: Tensor, kept: Tensor) -> list[int]:
    """Symbols behind which a block is computed more often than by chance, by how many times.

    >>> import torch
    >>> favoured_symbols(torch.tensor([7, 7, 7, 5, 5, 5]), torch.tensor([1, 1, 1, 1, 0, 0]).bool())
    [7]
    """
    counts, own = last.bincount(), last[kept].bincount(minlength=int(last.max()) + 1)
    more = own - kept.double().mean() * counts
    order = more.argsort(descending=True, stable=True)[:MOST_NAMED].tolist()
    return [symbol for symbol in order if more[symbol] > 0]


def favoured(labels: Tensor, kept: Tensor) -> list[int]:
    """Classes for which a block is computed more often than for others, the most favoured first.

    >>> import torch
    >>> favoured(torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 1, 1, 0, 0, 0]).bool())
    [0]
    """
    labels, kept = labels.cpu(), kept.cpu()
    counts = labels.bincount()
    rates = labels[kept].bincount(minlength=len(counts)) / counts.clamp(min=1)
    mean = kept.double().mean().item()
    order = rates.argsort(descending=True, stable=True)[:MOST_NAMED].tolist()
    return [c for c in order if rates[c] > mean + 1e-6 and rates[c] > 0.5]
