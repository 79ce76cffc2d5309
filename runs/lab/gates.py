"""Which gates matter: (frozen network, inputs) -> error, nll and MACs with each gate left out.

    lab gates network=resnet network_kwargs.depth=20 dataset=cifar10 weights=shipped --images 10000

A network is evaluated with everything kept, without each gate (all blocks of it), with a random
half of all blocks, and with nothing kept. What stands before a gate is the same without it as with
everything kept, and is computed once, so that all gates take half the time of as many passes.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.annexes.networks.pretrained.smollm import Llama
from ccenv.base.masks import full_mask, random_mask
from ccenv.base.seeding import stream
from ccenv.data import Split
from ccenv.data.registry import SPLITS
from ccenv.mdp.dynamics import EpisodeState, StepOutcome, initial, outcomes
from ccenv.networks.core.protocol import GatedNetwork, num_blocks_of
from ccenv.runs.commands.frame import positive, whole_number
from ccenv.runs.config.values import parse_pairs
from ccenv.runs.lab.experiment import Experiment, Options
from ccenv.runs.tables.sweep_table import Columns, markdown, read_columns
from ccenv.simulator.simulator import Simulator

WHOLE, WITHOUT, HALF, NOTHING = "everything", "without", "random half", "nothing"
"""What is kept."""
Key = tuple[str, int | None]
"""What is kept, and which gate is left out."""
Row = dict[str, Any]


def chosen_inputs(split: Split, count: int, seed: int = 0) -> Tensor:
    """Which inputs are taken: int64 [min(count, len(split))], drawn once, in ascending order."""
    order = torch.randperm(len(split), generator=stream(seed, "inputs to judge gates by"))
    return order[:count].sort().values


@torch.no_grad()
def without_gates(
    network: GatedNetwork,
    split: Split,
    indices: Tensor,
    *,
    batch_size: int = 32,
    seed: int = 0,
) -> list[Row]:
    """Evaluates a network with everything kept, without each gate, with half, and with nothing.

    `smollm2` answers at every token of its windows: the label of each is the one behind it. Its
    MACs stay those of one answer behind the window.

    Args:
        network: in evaluation mode; not changed.
        split: inputs and labels.
        indices: int64 [n], which of them.
        batch_size: inputs at a time; changes speed and memory alone.
        seed: of the random half.

    Returns:
        A row for each: `kept`, the number and name of the `gate` that is left out, mean `error`
        (share of wrong answers), `nll` in nats, `compute_cost`, and `nll_more` than with everything
        kept, the mean over inputs, with its standard error.
    """
    generator = stream(seed, "random half")
    half = [random_mask(len(indices), n, 0.5, generator) for n in num_blocks_of(network)]
    scores_of: dict[Key, list[Tensor]] = {}
    for places in torch.arange(len(indices)).split(batch_size):
        images, labels = split.batch(indices[places])
        state = initial(network, images, labels)
        for key, outcome in variants(network, state, [mask[places] for mask in half]):
            scores_of.setdefault(key, []).append(answer_scores(network, outcome))
    joined = {key: torch.cat(parts, dim=1) for key, parts in scores_of.items()}
    whole = joined[WHOLE, None]
    order = (WHOLE, WITHOUT, HALF, NOTHING)
    keys = sorted(joined, key=lambda key: (order.index(key[0]), key[1] or 0))
    return [row(network, key, joined[key], whole) for key in keys]


def answer_scores(network: Any, outcome: StepOutcome) -> Tensor:
    """Of each input: share of wrong answers, mean nll in nats, and cost: float64 [3, batch]."""
    assert outcome.logits is not None
    logits, labels = outcome.logits[:, None], outcome.labels[:, None]
    if outcome.answers is not None and outcome.targets is not None:
        logits, labels = outcome.answers, outcome.targets
    elif isinstance(network, Llama):
        logits = network.logits_everywhere(outcome.after.hidden)
        labels = torch.cat([outcome.after.images[:, 1:], labels], dim=1)
    flat, targets = logits.flatten(0, 1), labels.flatten()
    nll = nn.functional.cross_entropy(flat, targets, reduction="none").double()
    wrong = (flat.argmax(dim=1) != targets).double()
    of_inputs = [values.view(labels.shape).mean(dim=1) for values in (wrong, nll)]
    cost = outcome.macs.double() / network.dense_macs
    return torch.stack([*of_inputs, cost]).cpu()


def variants(
    network: GatedNetwork, state: EpisodeState, half: Sequence[Tensor]
) -> Iterator[tuple[Key, StepOutcome]]:
    """Walks a batch from its start to the end of each variant, one after the other."""
    rows, blocks = len(state.labels), num_blocks_of(network)
    every = [full_mask(rows, n, state.labels.device) for n in blocks]
    none = [torch.zeros_like(mask) for mask in every]
    half = [mask.to(state.labels.device) for mask in half]
    yield (HALF, None), last_outcome(network, state, half)
    yield (NOTHING, None), last_outcome(network, state, none)
    for gate, whole in enumerate(outcomes(network, state, lambda now: every[now.layer])):
        # A step changes nothing of the state before it, so that both ways go on from there.
        yield (WITHOUT, gate), last_outcome(network, whole.before, [none[gate], *every[gate + 1 :]])
    yield (WHOLE, None), whole


def last_outcome(
    network: GatedNetwork, state: EpisodeState, masks: Sequence[Tensor]
) -> StepOutcome:
    """Walks on under masks, one for each gate that is left; the last step's outcome."""
    first = state.layer
    *_, outcome = outcomes(network, state, lambda now: masks[now.layer - first])
    return outcome


def row(network: GatedNetwork, key: Key, of_inputs: Tensor, whole: Tensor) -> Row:
    """Means over inputs, compared with everything kept."""
    kept, gate = key
    error, nll, cost = of_inputs.mean(dim=1).tolist()
    more = of_inputs[1] - whole[1]
    spread = float(more.std()) / len(more) ** 0.5 if len(more) > 1 else None
    return {
        "kept": kept,
        "gate": gate,
        "name": None if gate is None else network.gates[gate].name,
        "skipped": None if gate is None else network.gates[gate].skipped,
        "error": error,
        "nll": nll,
        "nll_more": float(more.mean()),
        "nll_more_error": spread,
        "compute_cost": cost,
    }


def measured(options: Options) -> list[Row]:
    """Evaluates the network that the options name."""
    settings = parse_pairs(options.settings)
    if settings.get("weights") == "cotrain":
        raise ValueError("expected weights that are there, got cotrain; choose frozen or shipped")
    simulator = Simulator(1, split=options.split, **settings)
    indices = chosen_inputs(simulator.data, options.images, options.seed)
    network, data = simulator.network, simulator.data
    return without_gates(network, data, indices, batch_size=options.batch_size, seed=options.seed)


TWO_SIDED = 1.96
"""Standard errors of a 95 % interval, of a normal distribution."""


def spread_of(row: Mapping[str, Any]) -> str | None:
    """Half the interval of what a gate adds to the nll."""
    spread = row["nll_more_error"]
    is_known = row["kept"] != WHOLE and spread is not None
    return f"±{TWO_SIDED * spread:.3f}" if is_known else None


COLUMNS: Columns = {
    "kept": ("left", lambda row: " ".join(filter(None, [row["kept"], row["name"]]))),
    "error %": ("right .2f", lambda row: 100 * row["error"]),
    "nll": ("right .3f", "nll"),
    "nll more": ("right +.3f", lambda row: None if row["kept"] == WHOLE else row["nll_more"]),
    "95 %": ("right", spread_of),
    "compute cost": ("right .3f", "compute_cost"),
}


def gate_table(rows: Sequence[Row]) -> str:
    """A line for each variant."""
    return markdown(*read_columns(COLUMNS, rows))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which network, and which inputs."""
    parser.add_argument("settings", nargs="*", metavar="key=value", help="of the environment")
    parser.add_argument("--split", choices=SPLITS, default="test", help="of the data set")
    parser.add_argument("--images", type=positive, default=2000, help="inputs, drawn once")
    parser.add_argument("--batch-size", type=positive, default=32, help="inputs at a time")
    parser.add_argument("--seed", type=whole_number, default=0, help="of inputs and random half")
    parser.add_argument("--name", default="gates", help="of the recorded result")


def about(options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
    """What a recorded result says of its rows."""
    names = ("split", "seed", "images", "batch_size")
    settings = parse_pairs(options.settings)
    return {"settings": settings, **{name: getattr(options, name) for name in names}}


GATES = Experiment(
    name="gates",
    about="Error, nll and cost of a frozen network without each of its gates.",
    run=measured,
    pivot=gate_table,
    recorded_as=lambda options: str(options.name),
    add_options=add_options,
    head=about,
    notes="nll more: than with everything kept, mean over the same inputs, with its 95 % interval. "
    "Costs of single gates do not add up: see a random half, and nothing kept.",
)
