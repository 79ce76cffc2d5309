"""Observations: (state of the episode) -> what a policy sees, float32 [batch, obs_size].

All kinds start with the features offered at the gate, then zeros, then the one-hot index of the
gate (all zeros after the last gate). `lengths[layer]` is the number of feature columns at a gate: a
policy of one gate reads only these, and its MACs are counted so.

`layer_input`: the features that the network offers at a gate (`GatedNetwork.look`). For a fully
connected network these are the input's features, or the activations of the layer before; for other
networks, activations averaged over positions. `summary`: the image, average-pooled to at most 8 x 8
per channel, then the root mean square activation of each block of the previous gate, if the network
reports it; of inputs that are no images (vectors, texts, sequences) it is `layer_input`, so that it
fits every data set. `symbols`: the last symbols of the input, for policies that use embeddings or a
table (agent `hash`); a look-up needs no product. `certainty`: how certain the answer of the next
exit is.
`module:name`: your function (network, state) -> float32 [batch, size]; the size may differ from
gate to gate.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ccenv.base.registry import check_names, resolve
from ccenv.base.values import shown
from ccenv.mdp import LOOKS
from ccenv.mdp.dynamics import (
    EpisodeState,
    initial,
    look,
    transition,
)
from ccenv.networks.core.abilities import Norms, ability
from ccenv.networks.core.exit_state import early_answer
from ccenv.networks.core.protocol import GatedNetwork
from ccenv.sparse import cpu
from ccenv.sparse.operands import is_readable


def certainty(network: Any, state: EpisodeState) -> Tensor:
    """How certain the next exit is, before an exit; the network's own look before any other gate.

    Two numbers, float32 [batch, 2]: the log-probability of the likeliest class and the entropy in
    nats, 0 of rows that have stopped. An affine policy on them is a threshold on confidence.
    """
    if network.gates[state.layer].skipped != "stop":
        return look(network, state)
    logits, _ = early_answer(network, state.layer, state.hidden)
    log_p = logits.float().log_softmax(dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    features = state.hidden.of_all(torch.stack([log_p.amax(dim=1), entropy], dim=1))
    return features if len(features) == len(state.labels) else state.by_row(features)


LAST_SYMBOLS = "symbols"
"""The setting `observation` that shows them."""
NUM_BYTES = 256


def last_symbols(network: GatedNetwork, state: EpisodeState) -> Tensor:
    """The last `look_tokens` symbols of each input (pixels in 0..255) as float32."""
    symbols = state.images.flatten(1)[:, -network.look_tokens :]
    if symbols.is_floating_point():
        symbols = (symbols * (NUM_BYTES - 1)).round().clamp(0, NUM_BYTES - 1)
    return state.by_row(symbols.to(torch.float32))


def num_symbols_of(network: GatedNetwork) -> int:
    """How many different numbers `last_symbols` shows of a network's inputs."""
    return network.num_symbols or NUM_BYTES


def check_shown(kind: Any, network: GatedNetwork, inputs: Tensor) -> None:
    """Refuses to show symbols of inputs [n, ...] that policies do not know (ValueError)."""
    if kind == LAST_SYMBOLS and not inputs.is_floating_point():
        num_symbols, most = num_symbols_of(network), int(inputs.max())
        if most >= num_symbols:
            raise ValueError(
                f"expected symbols in 0..{num_symbols - 1} for observation={kind!r}, got {most}; "
                f"in sequences that is a missing symbol: set network_kwargs.num_symbols={most + 1}"
                ", or choose another observation"
            )


def num_seen(observe: Any) -> int:
    """How many symbols an observer shows as its last informative columns (else ValueError)."""
    if observe.kind != LAST_SYMBOLS:
        raise ValueError(
            f"expected observation={LAST_SYMBOLS!r} for a policy that looks symbols up, got "
            f"{observe.kind!r}"
        )
    # Numbers of a context stand before them.
    base = getattr(observe, "base", observe)
    return int(base.lengths[0])


OBSERVATIONS = tuple(LOOKS)
SUMMARY_SIDE = 8

OwnLook = Callable[[GatedNetwork, EpisodeState], Tensor]
"""A user's observation: (network, state before a gate) -> float32 [batch, size]."""
FUNCTIONS: dict[str, OwnLook] = {LAST_SYMBOLS: last_symbols, "certainty": certainty}
"""Those of `OBSERVATIONS` that are made as a user's would be."""


@dataclass(frozen=True)
class Observer:
    """Looks at states of one network in one way."""

    kind: str
    """one of `OBSERVATIONS`, or the `module:name` of a function."""
    lengths: tuple[int, ...]
    """informative columns at each gate, and after the last one."""
    network: Any
    """the `GatedNetwork` whose states they are."""
    function: OwnLook | None = None
    """the function that looks, None of the first two `OBSERVATIONS`."""

    @property
    def num_layers(self) -> int:
        """Number of gates."""
        return len(self.lengths) - 1

    @functools.cached_property
    def obs_size(self) -> int:
        """Columns of an observation."""
        return max(self.lengths) + self.num_layers

    def __call__(self, state: EpisodeState) -> Tensor:
        """Observation of each input: float32 [batch, obs_size], a fresh tensor."""
        shape, filled = (state.labels.shape[0], self.obs_size), self.lengths[state.layer]
        behind = self.obs_size - self.num_layers
        gate = behind + state.layer if state.layer < self.num_layers else -1
        looks = self._look(state) if filled else None
        if looks is not None and is_plain_look(looks, shape[0], filled):
            return cpu.observation(looks, self.obs_size, gate)
        # Memory is what this costs: a row that is mostly looks is not zeroed first.
        mostly = 2 * filled > self.obs_size
        new = torch.empty if mostly else torch.zeros
        observation = new(shape, device=state.labels.device)
        if looks is not None:
            observation[:, :filled] = looks
        if mostly:
            observation[:, filled:] = 0.0
        if gate >= 0:
            observation[:, gate] = 1.0
        return observation

    def _look(self, state: EpisodeState) -> Tensor:
        if self.function is not None:
            return self.function(self.network, state)
        if self.kind == "layer_input":
            return look(self.network, state)
        pooled = state.by_row(pool(state.images).flatten(1))
        norms = ability(self.network, Norms)
        if state.mask is None or norms is None or not norms.tells_norms(state.layer - 1):
            return pooled
        of_blocks = norms.block_norms(state.layer - 1, state.hidden)
        return torch.cat([pooled, of_blocks], dim=1)


def is_plain_look(features: Tensor, rows: int, columns: int) -> bool:
    """Whether compiled code can copy a look, which has the right size and no gradient."""
    fits = features.dtype == torch.float32 and features.shape == (rows, columns)
    return fits and is_readable(features) and not features.requires_grad


def pool(images: Tensor) -> Tensor:
    """Averages pixels so that at most 8 x 8 remain: [batch, channels, height, width].

    >>> pool(torch.ones(1, 1, 28, 28)).shape
    torch.Size([1, 1, 7, 7])
    """
    window = [pool_window(side) for side in images.shape[2:]]
    if window == [1, 1]:
        return images
    return torch.nn.functional.avg_pool2d(images, window, ceil_mode=True)


def pool_window(side: int) -> int:
    """Pixels that are averaged along a side of an image, so that at most 8 remain."""
    return -(-side // SUMMARY_SIDE)


def fitting(kind: str | OwnLook, image_shape: Sequence[int]) -> str | OwnLook:
    """The kind of observation that inputs of a shape are shown by; ValueError if it names none.

    >>> fitting("summary", [1, 8, 8]), fitting("summary", [10])
    ('summary', 'layer_input')
    """
    if not isinstance(kind, str) and not callable(kind):
        raise ValueError(f"expected observation to be a name or a function, got {shown(kind)}")
    is_image = len(image_shape) == 3
    return "layer_input" if kind == "summary" and not is_image else kind


def make_observer(
    kind: str | OwnLook, network: GatedNetwork, image_shape: Sequence[int], dtype: Any = None
) -> Observer:
    """Prepares one of `OBSERVATIONS`, `module:name` or a function for inputs of a shape and dtype.

    Raises:
        ValueError: if the kind is unknown, or does not fit the inputs.
    """
    kind = fitting(kind, image_shape)
    if callable(kind) or ":" in str(kind) or kind in FUNCTIONS:
        return own_observer(kind, network, torch.zeros(1, *image_shape, dtype=dtype))
    check_names([kind], OBSERVATIONS, "observation")
    gates = network.gates
    if kind == "layer_input":
        sizes = (*(gate.look_size for gate in gates), network.last_look_size)
        return Observer(kind, sizes, network)
    pooled = pool(torch.zeros(1, *image_shape)).numel()
    norms = ability(network, Norms)
    norm_counts = [
        gate.num_blocks if norms is not None and norms.tells_norms(number) else 0
        for number, gate in enumerate(gates)
    ]
    return Observer(kind, (pooled, *(pooled + n for n in norm_counts)), network)


@torch.no_grad()
def own_observer(kind: str | OwnLook, network: GatedNetwork, example: Tensor) -> Observer:
    """Prepares a function that is tried on an example; ValueError if it does not fit."""
    function = resolve(kind, FUNCTIONS, "observation")
    try:
        inspect.signature(function).bind(network, None)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected observation as (network, state) -> tensor: {error}") from error
    name = kind if isinstance(kind, str) else f"{function.__module__}:{function.__qualname__}"
    device = next(iter(network.state_dict().values())).device
    labels = torch.zeros(1, dtype=torch.int64, device=device)
    state, lengths = initial(network, example.to(device), labels), []
    for gate in network.gates:
        features = function(network, state)
        is_right = isinstance(features, Tensor) and features.ndim == 2 and len(features) == 1
        if not is_right or features.dtype != torch.float32:
            got = (
                (features.dtype, list(features.shape))
                if isinstance(features, Tensor)
                else type(features)
            )
            raise ValueError(
                f"expected observation {name!r} to answer with float32 [1, size] at gate "
                f"{gate.name!r}, got {got}"
            )
        lengths.append(features.shape[1])
        everything = torch.ones(1, gate.num_blocks, dtype=torch.bool, device=device)
        state, _ = transition(network, state, everything)
    return Observer(name, (*lengths, 0), network, function)
