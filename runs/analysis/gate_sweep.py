"""Which gates matter: (frozen network, inputs) -> error, nll and MACs with each gate left out.

A network is evaluated with everything kept, without each gate (all blocks of it), with a random
half of all blocks, and with nothing kept. What stands before a gate is the same without it as with
everything kept, and is computed once, so that all gates take half the time of as many passes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ccenv.base.files import arrays_digest
from ccenv.base.masks import full_mask, random_mask
from ccenv.base.seeding import stream
from ccenv.data import Split
from ccenv.mask_table.menu import answer_scores
from ccenv.mdp.dynamics import EpisodeState, StepOutcome, initial, outcomes
from ccenv.networks.core.abilities import Everywhere
from ccenv.networks.core.protocol import GatedNetwork, num_blocks_of
from ccenv.runs.analysis.settings import AnalysisSettings, read_analysis
from ccenv.runs.config.values import fits_json
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store import json_file
from ccenv.runs.store.identity import canonical, same
from ccenv.runs.store.provenance import data_of, machine, versions
from ccenv.runs.store.seal import sealed
from ccenv.simulator.settings import setting_defaults
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
    progress: Callable[[int], None] | None = None,
) -> list[Row]:
    """Evaluates a network with everything kept, without each gate, with half, and with nothing.

    A network with the ability `Everywhere` answers at every symbol of its windows: the label of
    each is the one behind it. Its MACs stay those of one answer behind the window.

    Args:
        network: in evaluation mode; not changed.
        split: inputs and labels.
        indices: int64 [n], which of them.
        batch_size: inputs at a time; changes speed and memory alone.
        seed: of the random half.
        progress: called with the number of inputs done.

    Returns:
        A row for each: `kept`, the number and name of the `gate` that is left out, mean `error`
        (share of wrong answers), `nll` in nats, `compute_cost`, and `nll_more` than with everything
        kept, the mean over inputs, with its standard error.
    """
    generator = stream(seed, "random half")
    half = [random_mask(len(indices), n, 0.5, generator) for n in num_blocks_of(network)]
    found: dict[Key, list[Tensor]] = {}
    for places in torch.arange(len(indices)).split(batch_size):
        images, labels = split.batch(indices[places])
        state = initial(network, images, labels)
        for key, outcome in variants(network, state, [mask[places] for mask in half]):
            found.setdefault(key, []).append(answer_scores(network, outcome))
        if progress is not None:
            progress(int(places[-1]) + 1)
    joined = {key: torch.cat(parts, dim=1) for key, parts in found.items()}
    whole = joined[WHOLE, None]
    order = (WHOLE, WITHOUT, HALF, NOTHING)
    keys = sorted(joined, key=lambda key: (order.index(key[0]), key[1] or 0))
    return [row(network, key, joined[key], whole) for key in keys]


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


def sweep_gates(settings: Mapping[str, Any], progress: bool) -> dict[str, Any]:
    """Evaluates a frozen or shipped network without each of its gates, and records it in `out`.

    Args:
        settings: fields of `Settings`, and settings of the environment, of its network and data.
        progress: show a bar.

    Returns:
        What `out` holds: rows (see `without_gates`), the settings that differ from the defaults,
        how many inputs and answers, checksums, versions and machine.

    Raises:
        ValueError: if a setting is wrong.
        OSError: if `out` cannot be written.
    """
    own, environment = read_analysis(settings)
    if own.out is not None:
        run_folder.check_writable(Path(own.out).parent)
    torch.set_num_threads(own.threads)
    simulator = Simulator(1, split=own.split, **environment)
    indices = chosen_inputs(simulator.data, own.images, own.seed)
    with tqdm(total=len(indices), unit="input", disable=None if progress else True) as bar:
        rows = without_gates(
            simulator.network,
            simulator.data,
            indices.to(simulator.device),
            batch_size=own.batch_size,
            seed=own.seed,
            progress=lambda done: bar.update(done - bar.n),
        )
    found = json_file.finite(described(own, environment, simulator, len(indices)) | {"rows": rows})
    result: dict[str, Any] = sealed(found)
    if own.out is not None:
        json_file.write_json(Path(own.out), result)
    return result


def described(
    own: AnalysisSettings, environment: Mapping[str, Any], simulator: Simulator, num_inputs: int
) -> dict[str, Any]:
    """All of a result but its rows."""
    network, defaults = simulator.network, setting_defaults()
    chosen = {
        name: canonical(value) if fits_json(value) else str(value)
        for name, value in environment.items()
        if not same(value, defaults[name])
    }
    everywhere = Everywhere in network.abilities
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    dataset = environment["dataset"]
    return {
        "kind": "gates",
        "name": Path(own.out).stem if own.out else "gates",
        "settings": chosen,
        "split": own.split,
        "seed": own.seed,
        "inputs": num_inputs,
        "answers": num_inputs * (simulator.image_shape[0] if everywhere else 1),
        "dense_macs": network.dense_macs,
        "weights": arrays_digest(weights, {})[:24],
        "data": data_of(dataset) if isinstance(dataset, str) else {},
        "versions": versions(),
        "machine": machine(),
    }
