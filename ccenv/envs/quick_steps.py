"""Steps of frozen fully connected networks in few calls: (bits) -> rewards, what `info` says.

For few rows, small calls of torch and numpy take longer than the network. Here two compiled calls
take their place, and every number is the same by bits; `ccenv.simulator` stays the definition.
"""

import functools
import math
from typing import Any

import numpy as np
import torch

from ccenv.base.ranks import ALONE
from ccenv.envs.actions import Actions
from ccenv.envs.rows import checked_bits
from ccenv.mdp.dynamics import EpisodeState, log_likelihood_of
from ccenv.networks.build import check_answers
from ccenv.networks.costs import dense_tail_macs
from ccenv.networks.mlp import GatedMLP
from ccenv.rewards.bind import PlainReward
from ccenv.rewards.plain import accuracy_minus_cost
from ccenv.rewards.stateful import StatefulReward
from ccenv.simulator.simulator import Simulator

MOST_PRICE = 1e6
"""Rewards of larger prices may not be finite, which the simulator looks at."""


class QuickSteps:
    """Steps of one simulator under masks, where they go the usual way."""

    def __init__(self, simulator: Simulator, actions: Actions) -> None:
        """Looks whether the simulator is of the usual kind; nothing is compiled yet."""
        self.simulator, self.network, self.reward = simulator, simulator.network, simulator.reward
        self.price = price_of(self.reward.rule)
        self.is_usual = (
            type(simulator) is Simulator
            and type(self.network) is GatedMLP
            and simulator.weights != "cotrain"
            and simulator.device.type == "cpu"
            and actions.kind == "mask"
            and self.price <= MOST_PRICE
        )

    def fit(self, simulator: Simulator) -> bool:
        """Whether the next step of a simulator can go this way: nobody has changed a part of it."""
        return (
            self.is_usual
            and simulator is self.simulator
            and simulator.state is not None
            and simulator.layer < simulator.num_layers
            and simulator.reward is self.reward
            and simulator.network is self.network
            and simulator.ranks is ALONE
            and "step" not in vars(self.network)
        )

    def step(self, actions: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """`Simulator.step`, and `ccenv.envs.infos.step_info` of it; call it where `fit`.

        Args:
            actions: [rows, max_blocks] of 0 and 1.

        Returns:
            What `info` says, without Gymnasium's twins, and rewards float32 [rows].

        Raises:
            As `Actions.read` and `Simulator.step`.
        """
        state = self.simulator.state
        assert state is not None
        if state.layer == 0:
            self.simulator.check_weights()
        with torch.no_grad():
            own, padded, whole, shares = self._settled(actions, state)
            after, info = self._walked(state, own, whole, shares)
        self.simulator.take_step(after)
        macs, _, layer, version, _, _ = whole
        layer_cost, compute_cost, cost, accuracy, paid, reward = shares
        named = {
            "layer": layer,
            "mask": padded,
            "layer_cost": layer_cost,
            "cost": cost,
            "compute_cost": compute_cost,
            "macs": macs,
            "network_version": version,
            "reward/accuracy": accuracy,
            "reward/cost": paid,
        }
        return named | info, reward

    def _settled(self, actions: Any, state: EpisodeState) -> tuple[np.ndarray, ...]:
        """Masks of the gate and of `info`, whole numbers and shares, see `settle_kernels`."""
        simulator, network, gate = self.simulator, self.network, state.layer
        rows, width = simulator.num_images, simulator.max_blocks
        given = as_bytes(actions, (rows, width))
        own = np.empty((rows, network.num_blocks[gate]), np.bool_)
        padded = np.empty((rows, width), np.bool_)
        whole, shares = np.empty((6, rows), np.int64), np.empty((6, rows), np.float32)
        is_last = gate == len(network.num_blocks) - 1
        before = kernels().FIRST if state.mask is None else np.ascontiguousarray(state.mask.numpy())
        odd = kernels().settle(
            given,
            own,
            padded,
            before,
            network.block_sizes[gate],
            network.in_features if state.mask is None else network.block_sizes[gate - 1],
            network.head_sizes[0] if is_last else 0,
            dense_tail_macs(network) if is_last else 0,
            network.dense_macs,
            gate,
            simulator.network_version,
            self.price,
            state.macs.numpy(),
            whole,
            shares,
        )
        if odd >= 0:
            checked_bits(actions, (rows, width))
        return own, padded, whole, shares

    def _walked(
        self, state: EpisodeState, own: np.ndarray, whole: np.ndarray, shares: np.ndarray
    ) -> tuple[EpisodeState, dict[str, np.ndarray]]:
        """The next state, and what `info` says of answers."""
        network, mask = self.network, torch.from_numpy(own)
        hidden = network.step(state.layer, state.hidden, mask)
        macs = torch.from_numpy(whole[kernels().SPENT])
        after = EpisodeState(
            state.images, state.labels, state.layer + 1, hidden, mask, macs, state.group_size
        )
        if after.layer < len(network.num_blocks):
            return after, {}
        logits, right = network.logits(hidden), np.empty(len(own), np.bool_)
        if not kernels().judge(logits.numpy(), state.labels.numpy(), whole, shares, right):
            check_answers(logits)
        nll = -log_likelihood_of(logits, state.labels)
        label, prediction = whole[kernels().LABEL], whole[kernels().PREDICTION]
        info = {"correct": right, "nll": nll.numpy(), "label": label, "prediction": prediction}
        return after, info


def price_of(rule: StatefulReward) -> float:
    """`cost_weight` of the reward `accuracy_minus_cost`; infinite for others."""
    if not isinstance(rule, PlainReward) or rule.function is not accuracy_minus_cost:
        return math.inf
    return float(rule.arguments.get("cost_weight", 1.0))


def as_bytes(actions: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What a caller gave as uint8 of that shape, unchecked if it is of bytes.

    Raises:
        TypeError, ValueError: as `checked_bits`.
    """
    array = np.asarray(actions)
    if array.dtype.itemsize > 1 or array.dtype.kind not in "bui" or array.shape != shape:
        array = checked_bits(actions, shape)
    flags = array.flags
    return (array if flags.c_contiguous and flags.writeable else array.copy()).view(np.uint8)


@functools.cache
def kernels() -> Any:
    """Loaded on use, because numba takes half a second to import."""
    from ccenv.mdp import settle_kernels

    return settle_kernels
