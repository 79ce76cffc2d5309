"""Prepares single inputs for a page: pictures, masks, costs, logits, weights and policies.

Everything is plain data; `inputs.js` draws it. Networks that the page can run (fully connected, of
few weights) come along with it, so that a reader may switch blocks; of others the page shows what
was computed here, and says why no more. Runs that learned under a cost weight or a budget are
judged at some of them.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.base.mask_words import in_files
from ccenv.envs.rendering import as_words, is_symbols, small_png_uri
from ccenv.networks.core.lowering import Affine, Blocks, operations_of
from ccenv.networks.core.protocol import weights_of
from ccenv.runs.engine.metadata import values_over
from ccenv.runs.replay.rebuilt import Rebuilt, WalkedInputs, walk_inputs
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


def walks_of(run: Rebuilt, deterministic: bool) -> tuple[View | None, list[WalkedInputs]]:
    """Walks test inputs at each of a run's cost weights or budgets; once where it has one alone.

    Returns:
        What the page's slider needs, None where there is nothing to slide: name and judged values,
        what comes out at each, and the other one's value meanwhile, in the middle of its range.
    """
    context = run.env.simulator.context
    ranges = {} if context is None else context.ranges
    name = next((name for name, bounds in ranges.items() if bounds.low < bounds.high), None)
    if name is None:
        return None, [walk_inputs(run, deterministic)]
    half = torch.tensor(0.5)
    fixed = {other: float(ranges[other].at(half)) for other in ranges if other != name}
    values = values_over(ranges[name], NUM_PRICES)
    walks = [walk_inputs(run, deterministic, fixed | {name: value}) for value in values]
    verdicts = []
    for walked in walks:
        wrong = walked.logits.argmax(dim=1) != walked.labels
        # The policy's own cost is left out.
        cost = walked.macs.sum(dim=1).double().mean() / run.network.dense_macs
        verdicts.append({"error": wrong.double().mean().item(), "cost": cost.item()})
    price = {"name": name, "values": values, "fixed": fixed, "num_inputs": len(walks[0].labels)}
    return price | {"verdicts": verdicts, "position": len(values) // 2}, walks


def layer_view(layer: Affine) -> View:
    """An affine map: sizes, float32 weights [out, in] and biases, activation, blocks of its gate.

    Biases are zeros where there are none, blocks are 0 where there is no gate.
    """
    weight = layer.weight.detach().cpu()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().cpu()
    return {
        "inputs": weight.shape[1],
        "outputs": weight.shape[0],
        "weight": floats(weight),
        "bias": floats(bias),
        "activation": layer.activation,
        "blocks": layer.num_blocks if isinstance(layer, Blocks) else 0,
    }


def floats(tensor: Tensor) -> str:
    """float32 in the order of rows, little-endian, as base64."""
    array = np.ascontiguousarray(tensor.numpy(), dtype="<f4")
    return base64.b64encode(array.tobytes()).decode()


def view_of(runs: Mapping[str, Rebuilt], deterministic: bool) -> View:
    """What `inputs.js` draws.

    Raises:
        ValueError: if two runs are on different inputs.
    """
    prices, walks = zip(*(walks_of(run, deterministic) for run in runs.values()), strict=True)
    # What is shown first.
    walked = [of_run[len(of_run) // 2] for of_run in walks]
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
    chosen = list(dict.fromkeys(index for order in orders.values() for index in order))
    places = {index: place for place, index in enumerate(chosen)}
    one_run = next(iter(runs.values()))
    letters = one_run.env.simulator.data.letters
    symbols = (
        None if letters is None else [as_words(np.array([n]), letters) for n in range(len(letters))]
    )
    agents = [
        agent_view(name, run, price) | {"seen": blocks_seen(one, letters)}
        for (name, run), one, price in zip(runs.items(), walked, prices, strict=True)
    ]
    needs_numbers = any(agent["network"] for agent in agents)
    return {
        "dataset": str(one_run.plan.environment["dataset"]),
        "classes": symbols,
        "masks": in_files(deterministic),
        "is_sequence": first.positions > 1,
        "agents": agents,
        "orders": {name: [places[i] for i in order] for name, order in orders.items()},
        "inputs": [
            sequence_view(walks, agents, index, letters)
            if first.positions > 1
            else input_view(walks, index, needs_numbers, letters)
            for index in chosen
        ],
    }


def orders_of(walked: Sequence[WalkedInputs]) -> dict[str, list[int]]:
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
        order = differ.argsort(descending=True, stable=True)[:NUM_SHOWN]
        if some := [i for i in order.tolist() if differ[i] > 0]:
            orders["agents differ"] = some
    return orders


def agent_view(name: str, run: Rebuilt, price: View | None) -> View:
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
        "price": price,
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
    operations = operations_of(network)
    maps = [one for one in operations if isinstance(one, Affine) and not one.tables]
    is_known = all(one.activation in (None, *ACTIVATIONS) for one in maps)
    if not maps or len(maps) < len(operations) or not is_known:
        return None, f"This page runs fully connected networks alone, {still}."
    if count > MOST_WEIGHTS:
        return None, f"{count:,} weights are too many for a page ({MOST_WEIGHTS:,}), {still}."
    return {"layers": [layer_view(one) for one in maps]}, ""


Walks = Sequence[Sequence[WalkedInputs]]
"""For each run its walks, one at each of its cost weights."""


def input_view(walks: Walks, index: int, needs_numbers: bool, letters: np.ndarray | None) -> View:
    """One test input as it is shown, and what each run does with it at each of its cost weights.

    That is masks as 0 and 1, MACs gate by gate, logits.
    """
    walked = walks[0][0]
    values = walked.inputs[index].cpu().numpy()
    if is_symbols(values):
        shown = {"text": as_words(values, letters)}
    else:
        shown = {"picture": small_png_uri(values, LARGEST_SIDE)}
    if needs_numbers:
        shown["values"] = floats(torch.from_numpy(values.astype(np.float32)).flatten())
    runs = [
        [
            {
                "masks": ["".join("01"[bit] for bit in mask[index].tolist()) for mask in one.masks],
                "macs": one.macs[index].tolist(),
                "logits": [float(f"{value:.7g}") for value in one.logits[index].tolist()],
            }
            for one in of_run
        ]
        for of_run in walks
    ]
    return {"index": index, "label": int(walked.labels[index]), **shown, "runs": runs}


def sequence_view(
    walks: Walks, agents: Sequence[View], index: int, letters: np.ndarray | None
) -> View:
    """One test sequence: a name of each position, and what each run does there."""
    first = walks[0][0]
    rows = slice(index * first.positions, (index + 1) * first.positions)
    inputs = first.inputs[rows].cpu()
    if is_symbols(inputs[0].numpy()):
        # The last symbol of a window is the one just read.
        shown: View = {"places": [as_words(window[-1:], letters) for window in inputs.numpy()]}
    else:
        shown = {"places": [str(place) for place in range(first.positions)]}
        shown["picture"] = small_png_uri(inputs.flatten(1).t()[None].numpy(), LARGEST_SIDE)
    runs = [
        [
            {
                "kept": [mask[rows].sum(dim=1).tolist() for mask in one.masks],
                "costs": (one.macs[rows].sum(dim=1).double() / agent["dense_macs"]).tolist(),
                "nll": [float(f"{nats:.4g}") for nats in one.nll[rows].tolist()],
            }
            for one in of_run
        ]
        for of_run, agent in zip(walks, agents, strict=True)
    ]
    return {"index": index, "labels": first.labels[rows].tolist(), **shown, "runs": runs}


MOST_BLOCKS = 160
"""Blocks of a network whose pictures a page carries."""
SIDE = 32
"""Pixels of a picture's longer side."""
MOST_NAMED = 3
"""Classes, or last symbols of a text, that are named."""


def blocks_seen(
    walked: WalkedInputs, letters: np.ndarray | None = None
) -> list[list[dict[str, Any]]]:
    """For each gate and block its share of inputs, classes, and picture or last symbols.

    Returns:
        Nothing where the network has more blocks than a page holds.
    """
    if sum(mask.shape[1] for mask in walked.masks) > MOST_BLOCKS:
        return []
    return [[seen_by(walked, kept, letters) for kept in mask.T] for mask in walked.masks]


def seen_by(walked: WalkedInputs, kept: Tensor, letters: np.ndarray | None) -> dict[str, Any]:
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
    counts, kept_counts = last.bincount(), last[kept].bincount(minlength=int(last.max()) + 1)
    more = kept_counts - kept.double().mean() * counts
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
