"""Binds rewards: (function or class, its arguments) -> a `Reward` that checks its values.

Rewards with state are `StatefulReward`s. The order of calls is: the constructor with the reward's
arguments; `prepare` once the network is built (in co-training after every seeded reset, with the
restored weights); `reset` at every seeded reset; then, for each step, `__call__`, which changes
nothing, and `update`, which changes the state. Copies of the environment for evaluation and search
read the state and never change it. The state changes only between episodes: all steps of an episode
have the same reward function.
"""

import dataclasses
import functools
import inspect
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar

from ccenv.base.annotations import has_mark, marked, signature_of
from ccenv.base.checks import AT_ONCE, Checks, all_finite
from ccenv.base.registry import check_names
from ccenv.base.values import shown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ccenv.data import Split
    from ccenv.mdp.dynamics import StepOutcome
    from ccenv.networks.core.protocol import GatedNetwork


Described = TypeVar("Described", bound=Callable[..., object])


@dataclass(frozen=True)
class RewardDescription:
    """Description of a reward for tables, at its default arguments."""

    formula: str
    """the sum over an episode."""
    low: float
    """smallest sum over an episode."""
    high: float
    """largest sum over an episode."""
    deterministic: bool = True
    """whether the same seed and masks give the same reward in every process."""
    depends_on_machine: bool = False
    """whether another machine gives another reward."""
    keeps_optimum: bool = False
    """whether the best masks are those of `accuracy_minus_cost` with the same arguments."""
    components: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """of a reward of several numbers: term -> its smallest and largest value in one step."""


def describe(
    formula: str, low: float, high: float, **more: Any
) -> Callable[[Described], Described]:
    """Attaches a `RewardDescription` to a reward, as its attribute `description`."""
    description = RewardDescription(formula, low, high, **more)

    def attach(reward: Described) -> Described:
        reward.description = description  # type: ignore[attr-defined]
        return reward

    return attach


@dataclass(frozen=True)
class Surroundings:
    """What a reward may use before the first episode."""

    network: "GatedNetwork"
    """with the weights that the episodes start with."""
    device: "torch.device"
    """where network and inputs live."""
    training_split: "Callable[[], Split]"
    """loads the inputs to fit on."""


class StatefulReward:
    """A reward with state; subclasses override what they need.

    >>> class Rising(StatefulReward):
    ...     def __init__(self):
    ...         self.cost_weight = 0.0
    ...     def __call__(self, outcome):
    ...         cost = -self.cost_weight * outcome.layer_cost
    ...         return {"cost": cost, "answer": outcome.correct}
    ...     def update(self, outcome):
    ...         self.cost_weight += 0.001 if outcome.is_last else 0.0
    ...     def reset(self):
    ...         self.cost_weight = 0.0
    ...     def numbers(self):
    ...         return {"cost_weight": self.cost_weight}
    >>> import ccenv
    >>> settings = {"dataset": "synthetic", "weights": "cotrain", "num_blocks": [4]}
    >>> env = ccenv.BlockSelectionVectorEnv(2, reward=Rising, **settings)
    >>> _ = env.reset(seed=0)
    >>> for _ in range(2):
    ...     info = env.step(env.action_space.sample())[-1]
    >>> info["cost_weight"].tolist()
    [0.001, 0.001]
    """

    def __init_subclass__(cls, **settings: Any) -> None:
        """Refuses the earlier name of `update`, `observe`, which nothing calls (TypeError)."""
        super().__init_subclass__(**settings)
        if "observe" in vars(cls):
            raise TypeError(
                f"expected {cls.__name__} to learn in update(outcome), got a method observe; "
                "rename it"
            )

    @marked("does_nothing")
    def prepare(self, surroundings: Surroundings) -> None:
        """Prepares the reward for the network, before the first episode."""

    def reset(self) -> None:
        """Restores the initial state."""

    def __call__(self, outcome: Any) -> dict[str, Any]:
        """Terms of one `StepOutcome`, each float32 [batch]; changes nothing."""
        raise TypeError(f"{type(self).__name__} must define __call__(outcome)")

    @marked("does_nothing")
    def update(self, outcome: "StepOutcome") -> None:
        """Updates the state; called after the reward of each step."""

    def numbers(self) -> dict[str, float]:
        """The state as numbers, for curves and `info`."""
        return {}


def does(reward: Any, method: str) -> bool:
    """Whether a reward, or a class of rewards, does something in a method of `StatefulReward`."""
    attribute = getattr(reward, method, None)
    return attribute is not None and not has_mark(attribute, "does_nothing")


RewardFunction = Callable[..., Any]
"""`function(outcome, **arguments)` -> a tensor [batch] or a dict of them; or a `StatefulReward`."""

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class PlainReward(StatefulReward):
    """A function with its arguments: a reward without state."""

    function: RewardFunction
    """from an outcome and the arguments to terms, or to one tensor [batch]."""
    arguments: Mapping[str, Any]
    """its keyword arguments."""

    def __call__(self, outcome: "StepOutcome") -> Any:
        """What the function gives."""
        return self.function(outcome, **self.arguments)


@dataclass(frozen=True)
class Reward:
    """A bound reward: calls a rule and checks its values."""

    name: str
    """what messages call it."""
    rule: StatefulReward
    """what is paid, and what it remembers."""
    description: RewardDescription | None
    """the reward's metadata; None for a user's reward without any."""
    is_held: bool = False
    """True of copies that read the memory and never change it."""
    prices: Any = None
    """[batch], each episode's own cost weight, which multiplies the term `cost`; None without."""

    @property
    def is_vector(self) -> bool:
        """Whether it gives several numbers, which are not to be added up."""
        return self.description is not None and bool(self.description.components)

    def check_is_one_number(self, who: str) -> None:
        """Refuses a reward of several numbers where one is needed (ValueError, naming by whom)."""
        if self.is_vector:
            parts = ", ".join(self.description.components) if self.description else ""
            raise ValueError(
                f"expected a reward of one number for {who}, got {shown(self.name)}, which gives "
                f"{parts}; choose another, or use BlockSelectionEnv or BlockSelectionVectorEnv"
            )

    def __call__(self, outcome: "StepOutcome") -> dict[str, "Tensor"]:
        """Terms of one step, float32 [batch] each; a single tensor becomes the one term `total`.

        Raises:
            ValueError: if the rule does not give one finite number for each input.
        """
        return self.paid(outcome)[0]

    def paid(
        self, outcome: "StepOutcome", checks: Checks = AT_ONCE
    ) -> tuple[dict[str, "Tensor"], "Tensor"]:
        """The same, and the sum of the terms, float32 [batch]; finite where `checks` look."""
        return checked_terms(self.terms(outcome), outcome, self.name, checks)

    def terms(self, outcome: "StepOutcome") -> Any:
        """What the rule gives, not checked, with each episode's own cost weight."""
        terms = self.rule(outcome)
        return terms if self.prices is None else priced(terms, self.prices)

    def prepare(self, surroundings: Surroundings) -> None:
        """See `StatefulReward.prepare`."""
        self.rule.prepare(surroundings)

    def reset(self) -> None:
        """See `StatefulReward.reset`; held copies leave the memory alone."""
        if not self.is_held:
            self.rule.reset()

    def update(self, outcome: "StepOutcome") -> None:
        """See `StatefulReward.update`; held copies leave the memory alone."""
        if not self.is_held:
            self.rule.update(outcome)

    def held(self) -> "Reward":
        """The same reward, as it is at any moment, for evaluation and search."""
        return dataclasses.replace(self, is_held=True)


def bind_reward(reward: Any, name: str, arguments: Mapping[str, Any]) -> Reward:
    """Binds keyword arguments of a function or class; ValueError if they do not fit."""
    if not callable(reward):
        raise ValueError(
            f"expected reward to be a name, a function or a class, got {shown(reward)}"
        )
    parameters = reward_parameters(reward)
    if parameters is not None:
        check_names(arguments, parameters, "setting in reward_kwargs")
    for key, value in arguments.items():
        check_argument(key, value)
    first = () if is_class(reward) else (None,)
    try:
        inspect.signature(reward).bind(*first, **arguments)
    except TypeError as error:
        raise ValueError(
            f"expected reward_kwargs that {name!r} takes, got {dict(arguments)}: {error}"
        ) from error
    rule = reward(**arguments) if is_class(reward) else PlainReward(reward, dict(arguments))
    return Reward(name, rule, getattr(reward, "description", None))


def priced(terms: Any, prices: Any) -> dict[str, Any]:
    """Multiplies the term `cost` with each episode's cost weight; ValueError without that term."""
    if not isinstance(terms, dict) or "cost" not in terms:
        raise ValueError(
            "expected a reward with a term 'cost' for context cost_weight, got none; "
            "use accuracy_minus_cost, nll_minus_cost or terminal_cost"
        )
    return terms | {"cost": prices * terms["cost"]}


def check_takes_outcome(reward: Any, name: str) -> None:
    """Refuses, by its signature, what takes no outcome and is no `StatefulReward` (ValueError)."""
    if is_class(reward):
        return
    try:
        parameters = list(inspect.signature(reward).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    first = parameters[0] if parameters and parameters[0].kind in POSITIONAL else None
    takes = False
    if first is not None:
        # By its annotation, or without one by its name.
        has_none = first.annotation is first.empty
        takes = first.name == "outcome" if has_none else "Outcome" in str(first.annotation)
    if isinstance(reward, type) or not takes:
        raise ValueError(
            f"expected reward {name!r} to be a function (outcome: StepOutcome, ...) or a "
            f"StatefulReward class, got {shown(getattr(reward, '__name__', reward))}, which takes "
            f"{first or 'none'} first; call that parameter outcome if it is one"
        )


def is_class(reward: Any) -> bool:
    """Whether a reward is a class, with a memory, rather than a function."""
    return isinstance(reward, type) and issubclass(reward, StatefulReward)


def reward_parameters(reward: Any) -> dict[str, Any] | None:
    """Names and defaults of what `reward_kwargs` may hold; None where anything is taken."""
    parameters = list(signature_of(reward, "reward").parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name: p.default for p in parameters[0 if is_class(reward) else 1 :]}


def check_argument(name: str, value: Any) -> None:
    """Refuses numbers that are not finite, weights below zero, and limits outside (0, 1]."""
    if isinstance(value, Real) and not math.isfinite(value):
        raise ValueError(f"expected {name} to be finite, got {value}")
    if name.endswith(("_weight", "_penalty")) and not (
        isinstance(value, Real) and float(value) >= 0
    ):
        raise ValueError(f"expected {name} to be a number of at least 0, got {shown(value)}")
    if name == "cost_limit":
        check_cost_limit(value)


def check_cost_limit(value: Any) -> None:
    """Refuses what is no compute cost to aim at, a number in (0, 1] (ValueError)."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) <= 1:
        raise ValueError(
            "expected cost_limit in (0, 1], the share of the dense network's MACs that an input "
            f"may cost on average, got {shown(value)}"
        )


def checked_terms(
    result: Any, outcome: "StepOutcome", name: str, checks: Checks
) -> tuple[dict[str, "Tensor"], "Tensor"]:
    """Terms of what a rule gives, and their sum; ValueError if one is no number an input."""
    terms = result if isinstance(result, dict) else {"total": result}
    kind, shape = type(outcome.layer_cost), outcome.layer_cost.shape
    for term_name, term in terms.items():
        if not isinstance(term, kind) or term.shape != shape:
            got = list(term.shape) if isinstance(term, kind) else type(term).__name__
            raise ValueError(
                f"expected the term {term_name!r} of {step_of(outcome, name)} to be a "
                f"{kind.__name__.lower()} {list(shape)}, one number for each input, got {got}"
            )
    if not terms:
        raise ValueError(f"expected at least one term of {step_of(outcome, name)}, got none")
    floats = {term_name: term.float() for term_name, term in terms.items()}
    total: Tensor = functools.reduce(operator.add, floats.values())
    checks.expect(all_finite(total), functools.partial(infinite_terms, floats, outcome, name))
    return floats, total


def infinite_terms(terms: Mapping[str, Any], outcome: "StepOutcome", name: str) -> ValueError:
    """The error of terms of which one is no number, or whose sum is none."""
    names = [word for word, term in terms.items() if not math.isfinite(abs(term).max())] or terms
    return ValueError(
        f"expected {step_of(outcome, name)} to give finite numbers, got NaN or infinity in "
        f"{', '.join(names)}; check the reward and the inputs"
    )


def step_of(outcome: "StepOutcome", name: str) -> str:
    """How messages call the reward of a step."""
    return f"the reward {name!r} in step {outcome.layer}"
