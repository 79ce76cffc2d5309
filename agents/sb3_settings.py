"""Settings of Stable-Baselines3's algorithms, and its `MlpPolicy` as a chooser of masks.

`complete_settings` fills in what is not given and refuses what does not fit. `actor_choosers` and
`mlp_actor_macs` say how the policy's actor chooses masks, and with how many MACs.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from ccenv.base.registry import check_names
from ccenv.base.values import shown
from ccenv.mdp.choosers import Chooser
from ccenv.mdp.observations import Observer

OWN_SETTINGS = (
    "policy",
    "env",
    "seed",
    "device",
    "verbose",
    "tensorboard_log",
    "_init_setup_model",
)
"""What the agent decides itself; every other argument of the algorithm is a setting."""


COUNTS = (
    "n_epochs",
    "n_steps",
    "n_critic_updates",
    "cg_max_steps",
    "line_search_max_iter",
    "sub_sampling_factor",
    "stats_window_size",
)
"""Whole numbers of at least 1; Stable-Baselines3 looks at none of them."""
RATES = ("learning_rate", "clip_range")
"""Numbers, or functions of what is left of a run; Stable-Baselines3 asserts that they are."""


def complete_settings(
    algorithm: Any, settings: Mapping[str, Any], num_steps: int, rows: int
) -> dict[str, Any]:
    """Fills in what the number of steps and rows decides, and refuses what would cut episodes.

    Settings are the algorithm's keyword arguments; `num_minibatches` may stand for `batch_size`.
    ValueError if one is unknown, would cut episodes of `num_steps` steps, or discounts.
    """
    names = [n for n in inspect.signature(algorithm).parameters if n not in OWN_SETTINGS]
    splits = "batch_size" in names
    names += ["num_minibatches"] if splits else []
    check_names(settings, names, f"setting of {algorithm.__name__}")
    fixed = {"n_steps": num_steps, "gamma": 1.0, "gae_lambda": 1.0, "stats_window_size": rows}
    completed = fixed | dict(settings)
    for name in COUNTS:
        if name in completed and (not isinstance(completed[name], int) or completed[name] < 1):
            raise ValueError(
                f"expected {name} to be a whole number of at least 1, got {shown(completed[name])}"
            )
    for name in RATES:
        value = completed.get(name, 0.0)
        if not (callable(value) or isinstance(value, int | float)):
            raise ValueError(f"expected {name} to be a number or a function, got {shown(value)}")
    if completed["gamma"] != 1:
        raise ValueError(
            f"expected gamma=1, got {completed['gamma']}: episodes are {num_steps} steps long and "
            "a late answer counts as much as an early cost; leave gamma out"
        )
    if completed["n_steps"] % num_steps:
        raise ValueError(
            f"expected n_steps to be a multiple of the {num_steps} steps of an episode, so that "
            f"none is cut, got {completed['n_steps']}; leave it out for one episode a rollout"
        )
    if completed["stats_window_size"] < rows:
        raise ValueError(
            f"expected stats_window_size of at least the {rows} rows that end together, "
            f"got {completed['stats_window_size']}; leave it out"
        )
    return divide(completed, completed["n_steps"] * rows) if splits else completed


def divide(settings: dict[str, Any], num_steps: int) -> dict[str, Any]:
    """Gives SB3 a `batch_size` that fills a rollout of `num_steps` steps without a rest.

    ValueError if the one given does not, leaves one step alone (SB3 normalises advantages by their
    deviation), or is given with `num_minibatches`.
    """
    num_minibatches = settings.pop("num_minibatches", None)
    if "batch_size" in settings and num_minibatches is not None:
        raise ValueError("expected batch_size or num_minibatches, got both; leave one out")
    most = max(parts for parts in (4, 2, 1) if parts == 1 or 2 * parts <= num_steps)
    parts = math.gcd(most, num_steps) if num_minibatches is None else num_minibatches
    divisor = settings.get("batch_size", parts)
    if not isinstance(divisor, int) or divisor < 1 or num_steps % divisor:
        name = "batch_size" if "batch_size" in settings else "num_minibatches"
        raise ValueError(
            f"expected {name} to divide the {num_steps} steps of a rollout, got {divisor}; "
            "leave it out for at most four equal parts"
        )
    size = settings.get("batch_size", num_steps // parts)
    if size < 2 and settings.get("normalize_advantage", True):
        raise ValueError(
            f"expected parts of at least 2 steps of a rollout's {num_steps}, got {size}; give more "
            "rows (batch_size, group_size), fewer parts, or normalize_advantage=False"
        )
    return settings | {"batch_size": size}


def falling_rate(algorithm: Any, settings: Mapping[str, Any]) -> Callable[[float], float]:
    """A schedule of SB3, from the rate given or the algorithm's own: share left -> rate."""
    default = inspect.signature(algorithm).parameters["learning_rate"].default
    start = float(settings.get("learning_rate", default))
    return lambda remaining: start * remaining


ACTIVATIONS = {nn.Tanh: "tanh", nn.ReLU: "relu"}


def mlp_actor_macs(policy: Any) -> int:
    """MACs of one look of an `MlpPolicy`'s actor, counted from its linear layers."""
    parts = (policy.features_extractor, policy.mlp_extractor.policy_net, policy.action_net)
    linears = [m for part in parts for m in part.modules() if isinstance(m, nn.Linear)]
    return sum(linear.weight.numel() for linear in linears)


def affine_chain(policy: Any) -> tuple[list[nn.Linear], str] | None:
    """An actor's linear layers and the activation between them; None if it is made otherwise."""
    net = policy.mlp_extractor.policy_net
    if type(policy.features_extractor) is not FlattenExtractor or type(net) is not nn.Sequential:
        return None
    modules = [*net, policy.action_net]
    kinds = {type(module) for module in modules[1::2]} or {nn.Tanh}
    is_chain = all(type(m) is nn.Linear for m in modules[::2]) and len(modules) % 2
    if not is_chain or len(kinds) > 1 or not kinds <= set(ACTIVATIONS):
        return None
    return modules[::2], ACTIVATIONS[kinds.pop()]


def actor_choosers(
    policy: Any, observe: Observer, num_blocks: Sequence[int], rule: str
) -> list[Chooser] | None:
    """How an `MlpPolicy`'s actor chooses by a rule; None if it is made otherwise.

    One actor for all layers reads the whole observation.
    """
    chain = affine_chain(policy)
    if chain is None:
        return None
    (first, *others), activation = chain
    choosers = []
    for layer, blocks in enumerate(num_blocks):
        length, place = observe.lengths[layer], max(observe.lengths) + layer
        # Behind what is informative stand zeros, and a one at the layer's index.
        maps = [(first.weight[:, :length], first.bias + first.weight[:, place])]
        maps += [(linear.weight, linear.bias) for linear in others]
        weight, bias = maps.pop()
        maps.append((weight[:blocks], bias[:blocks]))
        choosers.append(Chooser(maps, rule, activation=activation))
    return choosers
