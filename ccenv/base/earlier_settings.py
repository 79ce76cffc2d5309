"""What earlier versions said of an agent's settings -> what today's agent takes.

Stored runs, recorded results and exported classifiers name settings as the version that wrote them.
`EARLIER` is the one place that says what those names and values are today; an agent's class says
nothing of it, and one of yours needs no row.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Earlier:
    """What results of earlier versions say of an agent."""

    names: Mapping[str, str] = field(default_factory=dict)
    """names that settings had -> those of today; both are taken."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """settings of today -> what runs did before the setting was there, where that differs from its
    default."""
    gone: Mapping[str, Any] = field(default_factory=dict)
    """settings that are no more -> the value at which they did what the agent does today."""
    version: int = 1
    """of the code: raise it where a change changes what the agent learns, so that `ccenv compare`
    says which recorded results are older."""


COIN = {"min_probability": 0.01}
DRAWN = {"draw": "sampling"}
EARLIER = {
    "Act": Earlier(gone={"network_gradient": None}),
    "ActorCritic": Earlier(values=COIN),
    "ConstrainedAllocation": Earlier(gone={"menu": "auto"}),
    "FixedMask": Earlier(
        gone={"num_candidates": 64, "num_sweeps": 3, "num_search_images": 2000},
    ),
    "Gumbel": Earlier(names=DRAWN),
    "NoisyTopK": Earlier(gone={"num_groups": 1, "groups_kept": 2, "network_gradient": False}),
    "Oracle": Earlier(gone={"num_candidates": 32, "num_sweeps": 2}),
    "Reinforce": Earlier(values=COIN),
    "ReinforceLagrangian": Earlier(names={"multiplier_learning_rate": "multiplier_lr"}),
    "Rloo": Earlier(names=DRAWN | {"always_on": "shared_blocks"}),
    "RlooBudget": Earlier(
        names={
            "least_kept": "min_kept",
            "most_kept": "max_kept",
            "twins": "paired_masks",
            "fixed_share": "warmup_share",
            "shift_rate": "offset_lr",
            "price_rate": "multiplier_lr",
        },
        gone={"number_units": 0, "last_spread": 0.3, "spread_share": 1.0},
    ),
    "StraightThrough": Earlier(names=DRAWN),
    "TopK": Earlier(gone={"softmax": "all", "noise_share": 0.6}),
    "WtaRetrieval": Earlier(gone={"rehash_growth": 2.0}),
}
"""Class of an agent of this package -> what earlier versions said of it."""


def earlier_of(agent_class: type) -> Earlier:
    """What earlier versions said of an agent, or of the agent of this package that it extends."""
    ours = (c.__name__ for c in agent_class.__mro__ if c.__module__.startswith("ccenv."))
    return next((EARLIER[name] for name in ours if name in EARLIER), Earlier())


def in_todays_names(
    settings: Mapping[str, Any], earlier: Mapping[str, str], *, warns: bool = True
) -> dict[str, Any]:
    """Settings with today's names in the place of earlier ones; ValueError of one by both names.

    A `FutureWarning` names the new one if it `warns`: stored runs cannot follow one.

    >>> in_todays_names({"width": 2, "rate": 1}, {"width": "units"}, warns=False)
    {'units': 2, 'rate': 1}
    """
    for old, new in earlier.items():
        if old in settings and new in settings:
            raise ValueError(f"expected {new} once, got {old} too, its name until now")
        if old in settings and warns:
            text = f"the setting {old} is now {new}; its old name goes with the next release"
            warnings.warn(text, FutureWarning, stacklevel=2)
    return {earlier.get(name, name): value for name, value in settings.items()}


def in_earlier_names(settings: Mapping[str, Any], earlier: Mapping[str, str]) -> dict[str, Any]:
    """The way back, for identities: recorded runs are identified by their first names.

    >>> in_earlier_names({"units": 2, "rate": 1}, {"width": "units"})
    {'width': 2, 'rate': 1}
    """
    old_names = {new: old for old, new in earlier.items()}
    return {old_names.get(name, name): value for name, value in settings.items()}
