"""A run that learned under prices -> what its slider moves: masks, errors and costs at prices.

Some prices are judged here; of a policy of affine maps over a network that the page can run its
maps come along too, so that the page finds the masks at any price between them (`policy.js`).
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ccenv.deploy.fused.choosers import Chooser
from ccenv.networks.core.lowering import Affine, Blocks
from ccenv.runs.engine.metadata import grid
from ccenv.runs.replay.rebuilt import Rebuilt, Walked, walk_inputs
from ccenv.simulator.context import Range, least_macs

NUM_PRICES = 9
"""Judged: both ends of a range and seven between them; an odd number, the middle is among them."""
RULES = ("likely", "top_k")
"""How a policy of the page may choose its most probable masks."""
LOOKS = ("layer_input", "summary")
"""What it may look at."""

View = dict[str, Any]


@dataclass(frozen=True)
class Priced:
    """What a policy does with the same inputs at several prices."""

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
    """Walks test inputs at prices over a run's range; None where no price or budget is drawn."""
    context = run.env.simulator.context
    if context is None:
        return None
    ranges = context.ranges
    drawn = [name for name, found in ranges.items() if found.low < found.high]
    if not drawn:
        return None
    name, half = drawn[0], torch.tensor(0.5)
    fixed = {other: float(ranges[other].at(half)) for other in ranges if other != name}
    values = grid(ranges[name], NUM_PRICES)
    walked = tuple(walk_inputs(run, draw, fixed | {name: value}) for value in values)
    return Priced(name, tuple(values), fixed, walked)


def price_view(run: Rebuilt, priced: Priced, draw: str, network: View | None) -> View:
    """What `price.js` needs: the range, judged prices, and the policy where the page runs it.

    Masks that are drawn are shown at the judged prices alone.
    """
    simulator = run.env.simulator
    assert simulator.context is not None
    own = range_view(priced.name, simulator.context.ranges[priced.name])
    # The page skips what is not chosen, which an oblivious run does not.
    runs_here = network is not None and draw == "mode" and simulator.oblivious is None
    return own | {
        "values": list(priced.values),
        "fixed": priced.fixed,
        "num_inputs": len(priced.middle.labels),
        "verdicts": [verdict(one, run.network.dense_macs) for one in priced.walked],
        "policy": policy_view(run, simulator.context.ranges) if runs_here else None,
    }


def verdict(walked: Walked, dense_macs: int) -> dict[str, float]:
    """Error and compute cost over all inputs, the policy's own aside."""
    wrong = walked.logits.argmax(dim=1) != walked.labels
    cost = walked.macs.sum(dim=1).double().mean() / dense_macs
    return {"error": wrong.double().mean().item(), "cost": cost.item()}


def range_view(name: str, found: Range) -> View:
    """A range of prices or budgets."""
    return {"name": name, "low": found.low, "high": found.high, "is_log": found.is_log}


def policy_view(run: Rebuilt, ranges: Mapping[str, Range]) -> View | None:
    """Maps of a policy that the page can run; None of any other."""
    network, choosers = run.network, run.agent.choosers(drawn=False)
    observation = run.plan.environment["observation"]
    if observation not in LOOKS or not choosers:
        return None
    if not all(map(runs_in_page, choosers, run.env.simulator.observe.lengths)):
        return None
    return {
        "observation": observation,
        "ranges": [range_view(name, found) for name, found in ranges.items()],
        "dense_macs": int(network.dense_macs),
        "least": [least_macs(network, gate + 1) for gate in range(len(network.gates))],
        "gates": [gate_view(chooser) for chooser in choosers],
    }


def runs_in_page(chooser: Any, length: int) -> bool:
    """Whether `policy.js` has the rule, and its maps read the columns that it makes."""
    if not isinstance(chooser, Chooser) or chooser.rule not in RULES:
        return False
    if isinstance(chooser.maps, Tensor):
        return True
    return chooser.embeddings is None and chooser.maps[0][0].shape[1] == length


def gate_view(chooser: Chooser) -> View:
    """How one gate's mask is chosen."""
    rule = {"rule": chooser.rule, "num_kept": chooser.num_kept}
    if isinstance(chooser.maps, Tensor):
        return rule | {"scores": chooser.maps.tolist()}
    between = [chooser.activation] * (len(chooser.maps) - 1)
    maps = zip(chooser.maps, [*between, None], strict=True)
    return rule | {"maps": [layer_view(Affine(*one, activation)) for one, activation in maps]}


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
