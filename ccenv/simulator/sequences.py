"""Episodes over sequences: a simulator's positions, one behind the other, and what else may be set.

Of a sequence each position is an episode of one input, whose state is what the masks of those
before it have made: `begin_position` starts it out of what they left.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ccenv.base.registry import check_names
from ccenv.base.values import as_settings
from ccenv.data import Split
from ccenv.mdp import dynamics
from ccenv.mdp.dynamics import EpisodeState
from ccenv.networks.core.unrolled import continues
from ccenv.simulator.settings import EXTENSIONS, EnvironmentSettings
from ccenv.simulator.step import Extension, InputsAhead, SimulatorParts

EPISODES = ("input", "sequence")
AHEAD = 2**18
"""Numbers of inputs that are drawn together, at most, unless one position's are more."""


def read_episode(asked: EnvironmentSettings) -> bool:
    """Whether episodes are sequences; ValueError of an unknown kind."""
    check_names([asked.episode], EPISODES, "episode")
    return asked.episode == "sequence"


def num_positions(data: Split, dataset: str, is_sequence: bool) -> int:
    """Positions of an episode; ValueError where sequences are asked for and there are none."""
    if is_sequence and data.together == 1:
        raise ValueError(
            "expected a data set of sequences with episode='sequence', such as python_bundled@32, "
            f"got {dataset!r}; name one with @length"
        )
    return data.together if is_sequence else 1


@torch.no_grad()
def begin_position(simulator: SimulatorParts, state: Any = None) -> EpisodeState:
    """Begins the position that is next, behind what those before it left; None: the first."""
    if state is None or not simulator.ahead:
        simulator.ahead = draw_ahead(simulator)
    (inputs, labels), *simulator.ahead = simulator.ahead
    if state is None:
        state = continues(simulator.network).empty_state(inputs)
    return dynamics.initial(simulator.network, inputs, labels, state=state)


def draw_ahead(simulator: SimulatorParts) -> InputsAhead:
    """Draws inputs and labels of the next positions, as many as `AHEAD` allows: one by one is slow.

    Each input has memory of its own, which begins where torch's does: else a product of it may take
    another way, and a run would not be the same by bits.
    """
    count, first = len(simulator.indices), simulator.position
    most = max(1, AHEAD // (count * math.prod(simulator.image_shape)))
    places = range(first, min(first + most, simulator.positions))
    rows = [simulator.indices * simulator.positions + place for place in places]
    inputs, labels = (drawn.split(count) for drawn in simulator.data.batch(torch.cat(rows)))
    return [(example.clone(), right) for example, right in zip(inputs, labels, strict=True)]


def next_position(simulator: SimulatorParts, ended: EpisodeState) -> EpisodeState:
    """Goes on behind the last gate of a position that is not the last."""
    with torch.no_grad():
        state = continues(simulator.network).advance(ended.hidden)
    simulator.position += 1
    return begin_position(simulator, state)


def read_extensions(asked: EnvironmentSettings) -> tuple[Extension, ...]:
    """Reads the settings in `EXTENSIONS`; ValueError of impossible ones and combinations."""
    settings = {name: getattr(asked, name) for name in EXTENSIONS}
    extensions = [
        EXTENSIONS[name](setting) for name, setting in settings.items() if setting is not None
    ]
    check_combination(extensions, asked.episode == "sequence")
    of_reward: Mapping[str, Any] = as_settings(asked.reward_kwargs, "reward_kwargs")
    if of_reward.get("load_weight") and not any(one.loads for one in extensions):
        raise ValueError(
            "expected fast_memory or shared with load_weight, got neither; give one of them"
        )
    for one in extensions:
        one.check_settings(asked.weights, of_reward)
    return tuple(extensions)


def check_combination(extensions: Sequence[Extension], is_sequence: bool) -> None:
    """Refuses extensions that do not go together, or not with the episodes (ValueError)."""
    for one in extensions:
        one.check_beside([other for other in extensions if other is not one])
    unfit = [one.name for one in extensions if not one.over_sequences]
    if unfit and is_sequence:
        raise ValueError(
            f"expected no {' and no '.join(unfit)} with episode='sequence'; leave it out, or take "
            "episode='input'"
        )
