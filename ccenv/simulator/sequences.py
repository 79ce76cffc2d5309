"""Episodes over sequences: a simulator's positions, one behind the other, and what else may be set.

Of a sequence each position is an episode of one input, whose state is what the masks of those
before it have made: `begin_position` starts it out of what they left.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ccenv.base.registry import check_names, import_object
from ccenv.base.values import as_settings
from ccenv.data import Split
from ccenv.mdp import dynamics
from ccenv.mdp.dynamics import EpisodeState
from ccenv.networks.core.unrolled import continues
from ccenv.simulator.settings import EXTENSIONS, EnvironmentSettings
from ccenv.simulator.step import Extension

EPISODES = ("input", "sequence")


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


def begin_position(simulator: Any, cache: Any = None) -> EpisodeState:
    """Begins the position that is next, behind what those before it left; None: the first."""
    rows = simulator.indices * simulator.positions + simulator.position
    images, labels = simulator.data.batch(rows)
    with torch.no_grad():
        if cache is None:
            cache = continues(simulator.network).empty_cache(images)
        return dynamics.initial(simulator.network, images, labels, cache=cache)


def next_position(simulator: Any, ended: EpisodeState) -> EpisodeState:
    """Goes on behind the last gate of a position that is not the last."""
    with torch.no_grad():
        cache = continues(simulator.network).cache_after(ended.hidden)
    simulator.position += 1
    return begin_position(simulator, cache)


def read_extensions(asked: EnvironmentSettings) -> tuple[Extension, ...]:
    """Reads the settings in `EXTENSIONS`; ValueError of impossible ones and combinations."""
    given = {name: getattr(asked, name) for name in EXTENSIONS}
    found = [
        import_object(EXTENSIONS[name], "extension")(own)
        for name, own in given.items()
        if own is not None
    ]
    check_combination(found)
    unfit = [one.name for one in found if not one.over_sequences]
    if unfit and asked.episode == "sequence":
        raise ValueError(
            f"expected no {' and no '.join(unfit)} with episode='sequence'; leave it out, or take "
            "episode='input'"
        )
    of_reward: Mapping[str, Any] = as_settings(asked.reward_kwargs, "reward_kwargs")
    if of_reward.get("load_weight") and not any(one.loads for one in found):
        raise ValueError(
            "expected fast_memory or shared with load_weight, got neither; give one of them"
        )
    for one in found:
        one.check_settings(asked.weights, of_reward)
    return tuple(found)


def check_combination(extensions: Sequence[Extension]) -> None:
    """Refuses extensions that do not go together (ValueError)."""
    for one in extensions:
        one.check_beside([other for other in extensions if other is not one])
