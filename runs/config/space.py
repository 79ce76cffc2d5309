"""What the command line varies: ranges and choices of a search, combinations of a grid.

Of a search `key=low..high` is a range and `key=a|b` a choice; of a grid `num_kept=1,2` and
`seed=0..4` are values. Any other value is kept as it is.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.base.registry import resolve
from ccenv.rewards import REWARDS, reward_parameters
from ccenv.runs.config.agent_settings import agent_parameters
from ccenv.runs.config.plan import Plan
from ccenv.runs.config.settings import make_plan
from ccenv.runs.config.sweep import check_run_count
from ccenv.runs.config.values import parse_pairs, parse_value

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})")
DECADE = 10
"""A range of positive numbers at least so wide is searched on a logarithmic scale."""
RATE, PRICE = "learning_rate", "cost_weight"
"""What is varied where nothing is named."""


@dataclass(frozen=True)
class Span:
    """A range of numbers, both ends included."""

    low: float
    """an int where both ends are written as such."""
    high: float
    """the other end."""

    @property
    def is_log(self) -> bool:
        """Whether it is searched on a logarithmic scale."""
        return self.low > 0 and self.high / self.low >= DECADE

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class OneOf:
    """Values to choose from."""

    options: tuple[str, ...]
    """as on the command line, see `ccenv.runs.config.values.parse_value`."""


Space = dict[str, Span | OneOf]
"""By setting; a dot in a name leads into a dict."""


def read_space(settings: Mapping[str, Any]) -> tuple[dict[str, Any], Space]:
    """Parts what is kept from what is varied.

    Args:
        settings: see `ccenv.runs.config.values.parse_pairs`.

    >>> read_space({"seed": 1, "reward_kwargs": {"cost_weight": "0.1..10"}})
    ({'seed': 1}, {'reward_kwargs.cost_weight': Span(low=0.1, high=10)})
    """
    kept: dict[str, Any] = {}
    space: Space = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            inner, varied = read_space(value)
            space |= {f"{name}.{key}": found for key, found in varied.items()}
            if inner or not varied:
                kept[name] = inner
        elif (found := read_varied(name, value)) is not None:
            space[name] = found
        else:
            kept[name] = value
    return kept, space


def read_varied(name: str, value: Any) -> Span | OneOf | None:
    """A range or a choice; None of any other value."""
    if not isinstance(value, str):
        return None
    if found := RANGE.fullmatch(value):
        low, high = parse_value(found[1]), parse_value(found[2])
        if low >= high:
            raise ValueError(f"expected {name}=low..high with low below high, got {value}")
        return Span(low, high)
    if "|" not in value:
        return None
    options = tuple(text.strip() for text in value.split("|"))
    if not all(options) or len(set(options)) < len(options):
        raise ValueError(f"expected {name}=a|b with different values, got {value}")
    return OneOf(options)


def with_values(kept: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run: what is kept, and a value for each setting that is varied.

    >>> with_values({"reward_kwargs": {"a": 1}}, {"reward_kwargs.b": 2, "c": "x"})
    {'reward_kwargs': {'a': 1, 'b': 2}, 'c': 'x'}
    """
    settings = {n: dict(v) if isinstance(v, Mapping) else v for n, v in kept.items()}
    for name, value in values.items():
        *outer, inner = name.split(".", maxsplit=1)
        target = settings.setdefault(outer[0], {}) if outer else settings
        target[inner] = parse_value(value) if isinstance(value, str) else value
    return settings


def usual_space(plan: Plan) -> Space:
    """A tenth to ten times of learning rate and multiplier, where agent and reward have them."""
    rate = agent_parameters(plan.agent_class)[0].get(RATE)
    price = usual_value(plan, f"reward_kwargs.{PRICE}")
    usual = {RATE: rate, f"reward_kwargs.{PRICE}": price}
    found: Space = {
        name: Span(value / 10, value * 10.0)
        for name, value in usual.items()
        if isinstance(value, int | float) and value > 0
    }
    if not found:
        raise ValueError(
            f"expected a setting of {plan.agent} to vary, got none; give key=low..high or key=a|b"
        )
    return found


def usual_value(plan: Plan, name: str) -> Any:
    """A setting's value in a plan; None where it has none. A reward's own defaults count."""
    config = plan.config()
    flat = {**config, **config["environment"], **config["agent_settings"]}
    if name in flat:
        return flat[name]
    outer, _, inner = name.partition(".")
    if outer == "reward_kwargs" and inner not in flat[outer]:
        reward = resolve(plan.environment["reward"], REWARDS, "reward")
        return (reward_parameters(reward) or {}).get(inner)
    found = flat.get(outer)
    return found.get(inner) if isinstance(found, Mapping) else None


def check_space(agent: str, kept: Mapping[str, Any], space: Space) -> None:
    """Tries both ends of every range and every choice as settings, before anything is run."""
    first = {name: tried_values(found)[0] for name, found in space.items()}
    for name, found in space.items():
        for value in tried_values(found):
            make_plan(agent, with_values(kept, first | {name: value}))


def tried_values(found: Span | OneOf) -> tuple[Any, ...]:
    """What is tried of a range or choice."""
    return (found.low, found.high) if isinstance(found, Span) else found.options


SEED_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})")
"""Whole numbers from one to another."""
BETWEEN = re.compile(r",(?![^(\[{]*[)\]}])")
"""A comma that stands in no brackets."""


def read_grid(pairs: Iterable[str], most_runs: int | None) -> Iterator[dict[str, Any]]:
    """The settings of each combination; the last setting changes first.

    Args:
        pairs: `key=value`, `key=value,value` or, of whole numbers, `key=first..last`. A value that
            has commas itself stands in brackets: `num_blocks=(10,10),(16,16)`.
        most_runs: combinations that there may be; None for any number.

    >>> list(read_grid(["num_kept=1,2", "seed=0..1"], most_runs=None))[1:3]
    [{'num_kept': 1, 'seed': 1}, {'num_kept': 2, 'seed': 0}]
    """
    pairs = list(pairs)
    # What is wrong with a pair alone is wrong in a grid, too.
    parse_pairs(pairs)
    axes = [(pair.partition("=")[0], values_of(pair)) for pair in pairs]
    check_run_count(math.prod(len(values) for _, values in axes), most_runs)
    texts = [[f"{key}={value}" for value in values] for key, values in axes]
    return map(parse_pairs, itertools.product(*texts))


def values_of(pair: str) -> Sequence[Any]:
    """The values of a setting, as texts or whole numbers.

    >>> values_of("num_blocks=(10,10),(16,16)"), values_of("seed=0..2")
    (['(10,10)', '(16,16)'], range(0, 3))
    """
    key, _, text = pair.partition("=")
    if match := SEED_RANGE.fullmatch(text):
        values: Sequence[Any] = range(int(match[1]), int(match[2]) + 1)
    else:
        values = BETWEEN.split(text)
    if not values or "" in values:
        raise ValueError(
            f"expected values of {key} between commas or as first..last, got {text!r}; for "
            f"example {key}=1,2 or {key}=0..4"
        )
    return values
