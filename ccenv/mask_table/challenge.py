"""The challenge: (policies, a table that judges) -> shares of the oracle's gap that they close.

The reward of an input under a mask is 1 for a right answer, less cost_weight times the mask's share
of the dense network's MACs. The best static mask (chosen on other inputs) closes 0 of the gap, the
best mask of each input closes all of it. A policy sees the features offered at the first gate of
each input, and nothing else: no label, no answer of any mask, not the order of the inputs.
"""

import dataclasses
import inspect
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ccenv.base.registry import import_object
from ccenv.base.values import shown
from ccenv.mask_table.entry import COST_WEIGHTS, EntryFile, check_is_free, read_entry
from ccenv.mask_table.exact import FLOATS, contractions, optimum, value
from ccenv.mask_table.header import number_of
from ccenv.mask_table.table import (
    ENTRIES,
    SHIPPED,
    MaskTable,
    arrays_of,
    judging_table,
    shipped_table,
)

BOUND, BASELINE, RECORDED, ENTRY = "bound", "baseline", "recorded", "entry"
F32 = NDArray[np.float32]
RATES = np.linspace(0, 1, 41)
"""Keep probabilities among which random masks choose."""
TIE = 1e-6
"""Shares that differ by no more have one rank."""
MOST_SHARE = 1.001
"""Of the gap: the best mask of each input closes 1, and rounding adds a millionth."""


class TablePolicy(Protocol):
    """What the challenge judges."""

    def act(self, look: F32) -> Any:
        """Chooses masks for some inputs.

        Args:
            look: float32 [n, look_size]; features offered at the first gate.

        Returns:
            [n, num_units]: bits (bool, or int 0 and 1), or keep probabilities (float).
        """


Maker = Callable[[MaskTable, float], TablePolicy]
"""(a table to learn from, cost weight) -> a policy, such as a class with these two arguments."""


@dataclass(frozen=True)
class Task:
    """A frozen network: inputs to learn from, and held-out inputs that judge."""

    name: str
    """that the standings show."""
    learning: MaskTable
    """what policies are given; it also chooses the static mask."""
    judging: MaskTable
    """what they are judged by."""

    def __post_init__(self) -> None:
        """Checks.

        Raises:
            ValueError: if the tables are not of one network, share inputs, or lack something.
        """
        learning, judging = self.learning.header, self.judging.header
        if learning.weights != judging.weights or learning.menus != judging.menus:
            raise ValueError(
                f"expected two tables of one network, got weights {judging.weights} and "
                f"{learning.weights}; give --choose a table of the same network"
            )
        if learning.data == judging.data:
            raise ValueError("expected other inputs to choose by, got those that judge")
        for table in (self.learning, self.judging):
            if table.outcomes().num_units is None:
                raise ValueError(
                    "expected a table of all masks, got one of a menu; build one of all"
                )


@dataclass(frozen=True)
class Candidate:
    """A policy before it is made: its name, and how it is made for a cost weight."""

    name: str
    """that the standings show."""
    make: Maker
    """called once for each cost weight."""
    kind: str = ENTRY
    """"recorded" or "entry"."""
    weights: str | None = None
    """`Header.weights` of the one network that it is for; None: for any."""


@dataclass(frozen=True)
class AtWeight:
    """What a policy reaches at one cost weight; means over the inputs that judge."""

    cost_weight: float
    """of the dense network's MACs, in right answers."""
    share: float
    """of the oracle's gap over the best static mask that is closed; NaN where there is no gap."""
    standard_error: float
    """of the share, over inputs."""
    error: float
    """expected share of wrong answers."""
    cost: float
    """share of the dense network's MACs."""


@dataclass(frozen=True)
class Standing:
    """One line of the standings."""

    name: str
    """of the policy."""
    kind: str
    """"bound" (it sees labels), "baseline", "recorded" or "entry"."""
    share: float
    """of the gap that is closed; mean over cost weights, or over tables."""
    standard_error: float
    """of that mean."""
    parts: tuple[Any, ...]
    """an `AtWeight` for each cost weight, or a `Standing` for each table."""
    rank: int | None = None
    """place, 1 for the largest share; None of bounds."""


def shipped_tasks(names: Sequence[str] = SHIPPED) -> list[Task]:
    """The suite: networks whose tables come with the package."""
    return [Task(name, shipped_table(name), judging_table(name)) for name in names]


def candidate(text: str) -> Candidate:
    """Reads an entry.

    Args:
        text: a file of `write_entry`, or `module:name` of a class of yours.

    Raises:
        ValueError, OSError: if there is no such file, class or module.
    """
    if ":" in text and not Path(text).exists():
        return Candidate(text, import_object(text, "entry"))
    if not Path(text).exists():
        raise ValueError(
            "expected a file of ccenv.mask_table.write_entry, or module:name of a class, got "
            f"{shown(text)}"
        )
    return of_file(read_entry(Path(text)))


def of_file(entry: EntryFile, kind: str = ENTRY) -> Candidate:
    """The policies of a file."""
    return Candidate(entry.name, lambda _, weight: entry.policies[weight], kind, entry.weights)


def recorded_policies() -> list[Candidate]:
    """Those that come with the package."""
    return [of_file(read_entry(path), RECORDED) for path in sorted(ENTRIES.glob("*.safetensors"))]


def standings(task: Task, entries: Sequence[Candidate] = ()) -> list[Standing]:
    """Judges baselines, recorded policies and entries on one network.

    Args:
        task: the network.
        entries: policies to judge; those for another network are refused.

    Returns:
        All with their ranks, the largest share first.

    Raises:
        ValueError: if an entry fails, sees what it may not see, answers what is no policy, closes
            more than all of the gap, or has the name of a baseline or of a recorded policy.

    >>> [place.name for place in standings(shipped_tasks(["resnet20"])[0])][0]
    'oracle'
    """
    weights, taken = task.judging.header.weights, recorded_policies()
    for one in entries:
        check_is_free(one.name, [other.name for other in taken])
        if one.weights not in (None, weights):
            names = [name for name in SHIPPED if judging_table(name).header.weights == one.weights]
            advice = f"--table {names[0]}" if names else "--table with a table of that network"
            raise ValueError(
                f"{one.name}: expected an entry for the network {weights} ({task.name}), got one "
                f"for {str(one.weights)[:24]!r}; give {advice}"
            )
    fitting = [one for one in taken if one.weights == weights]
    judge = Judge(task)
    return ranked([*judge.baselines(), *map(judge.standing, [*fitting, *entries])])


def together(tables: Sequence[Sequence[Standing]]) -> list[Standing]:
    """Standings over several networks: means of the shares of those that stand on all of them."""
    by_name = [{one.name: one for one in table} for table in tables]
    found = []
    for name in by_name[0]:
        if all(name in table for table in by_name):
            parts = tuple(table[name] for table in by_name)
            # Shares on two networks are independent of each other.
            variance = sum(part.standard_error**2 for part in parts)
            found.append(mean_standing(name, parts[0].kind, parts, variance**0.5 / len(parts)))
    return ranked(found)


def mean_standing(name: str, kind: str, parts: tuple[Any, ...], standard_error: float) -> Standing:
    """A line whose share is the mean of its parts'."""
    share = float(np.mean([part.share for part in parts]))
    return Standing(name, kind, share, standard_error, parts)


def ranked(found: Sequence[Standing]) -> list[Standing]:
    """Standings in their order, with ranks; equal shares have one rank."""
    shares = [one.share for one in found if one.kind != BOUND]
    order = sorted(found, key=lambda one: (one.kind != BOUND, -one.share))
    return [
        one
        if one.kind == BOUND
        else dataclasses.replace(one, rank=1 + sum(s > one.share + TIE for s in shares))
        for one in order
    ]


class Judge:
    """Outcomes of a task's held-out inputs, and what policies earn on them."""

    def __init__(self, task: Task) -> None:
        """Finds what the oracle and the best static mask earn at every cost weight."""
        self.task, self.outcomes = task, task.judging.outcomes()
        learned = task.learning.outcomes()
        self.learned = dataclasses.replace(learned, scores=learned.scores.mean(axis=0)[None])
        """what each mask earns on the inputs to learn from, on the mean."""
        self.looks = task.judging.look.astype(np.float32)
        # Whoever remembers answers by their place finds them at another.
        self.order = np.random.default_rng(0).permutation(len(self.looks))
        self.static, self.oracle = (
            [self.earned(numbers=optimum(by, weight).numbers) for weight in COST_WEIGHTS]
            for by in (self.learned, self.outcomes)
        )

    def earned(self, **policy: Any) -> tuple[FLOATS, FLOATS]:
        """Right answers and costs of a form of `ccenv.mask_table.value`: [n] each, exact."""
        right = value(self.outcomes, 0.0, **policy)
        return right, right - value(self.outcomes, 1.0, **policy)

    def baselines(self) -> list[Standing]:
        """The oracle, the best static mask, random masks, the dense network."""
        everything = self.earned(numbers=np.array([len(self.outcomes.costs) - 1]))
        random = [self.earned(keep=self.best_rate(weight)) for weight in COST_WEIGHTS]
        return [
            self.placed("oracle", BOUND, self.oracle),
            self.placed("best static mask", BASELINE, self.static),
            self.placed("random masks", BASELINE, random),
            self.placed("dense network", BASELINE, [everything] * len(COST_WEIGHTS)),
        ]

    def best_rate(self, cost_weight: float) -> FLOATS:
        """One keep probability for all blocks that earns most on the inputs to learn from."""
        rates = np.repeat(RATES[:, None], self.task.judging.header.num_units, axis=1)
        earned = self.learned.scores - cost_weight * self.learned.costs
        found: FLOATS = rates[contractions(earned.repeat(len(rates), axis=0), rates)[0].argmax()]
        return found

    def standing(self, one: Candidate) -> Standing:
        """Makes and judges a policy at every cost weight."""
        try:
            found = [self.earned(**self.answer(one.make, weight)) for weight in COST_WEIGHTS]
        except ValueError as error:
            raise ValueError(f"{one.name} on {self.task.name}: {error}") from error
        return self.placed(one.name, one.kind, found)

    def answer(self, make: Maker, cost_weight: float) -> dict[str, NDArray[Any]]:
        """A form of policy for all inputs, which it sees in an order of ours."""
        act = act_of(make, self.task.learning, cost_weight)
        looks = read_only(self.looks[self.order])
        found = called_by_us(lambda: np.asarray(act(looks)))
        header = self.task.judging.header
        shape = len(looks), header.num_units
        if found.shape != shape or found.dtype.kind not in "biuf":
            raise ValueError(
                f"expected act to answer bits or keep probabilities {list(shape)}, got "
                f"{found.dtype} {list(found.shape)}"
            )
        found = found[np.argsort(self.order)]
        if found.dtype == bool:
            return {"numbers": number_of(header.menus, found)}
        return {"keep": found}

    def placed(self, name: str, kind: str, found: Sequence[tuple[FLOATS, FLOATS]]) -> Standing:
        """A line of the standings: right and cost of each input at each cost weight."""
        parts, deviations = [], []
        ends = zip(COST_WEIGHTS, self.static, self.oracle, found, strict=True)
        for weight, *earned in ends:
            static, oracle, own = (right - weight * cost for right, cost in earned)
            lead, gaps = own - static, oracle - static
            gap = float(gaps.mean())
            share = float(lead.mean()) / gap if gap > 0 else float("nan")
            if share > MOST_SHARE:
                raise ValueError(
                    f"{name} on {self.task.name}: expected at most all of the oracle's gap, got "
                    f"{share:.3g} of it at cost weight {weight:g}: no masks earn that, so the "
                    "entry changed what it is measured by"
                )
            # Of a ratio of two means over the same inputs, to first order.
            each = (lead - share * gaps) / (gap or 1.0)
            deviations.append(each)
            error, cost = 1 - float(earned[2][0].mean()), float(earned[2][1].mean())
            parts.append(AtWeight(weight, share, error_of_mean(each), error, cost))
        return mean_standing(name, kind, tuple(parts), error_of_mean(np.mean(deviations, axis=0)))


def error_of_mean(values: FLOATS) -> float:
    """Standard error of the mean."""
    return float(values.std() / np.sqrt(len(values)))


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The same array, which refuses to be written to."""
    array.setflags(write=False)
    return array


def act_of(make: Maker, table: MaskTable, cost_weight: float) -> Callable[[F32], Any]:
    """A policy's `act`, if it wants nothing but a table, a cost weight and looks."""
    try:
        inspect.signature(make).bind(None, None)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"expected a class with __init__(self, table, cost_weight), got {shown(make)}: {error}"
        ) from error
    # Arrays of its own: learning from them changes no other's.
    arrays: dict[str, Any] = {k: read_only(v.copy()) for k, v in arrays_of(table).items()}
    policy = called_by_us(make, dataclasses.replace(table, **arrays), cost_weight)
    act: Callable[[F32], Any] | None = getattr(policy, "act", None)
    if not callable(act):
        raise ValueError(
            f"expected an object with act(look), got {type(policy).__name__} without; see "
            "ccenv.mask_table.challenge.TablePolicy"
        )
    parameters = inspect.signature(act).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    wanted = [p.name for p in parameters if p.default is p.empty and p.kind not in several]
    if len(wanted) != 1:
        raise ValueError(
            f"expected act(look), got act({', '.join(wanted)}): a policy sees the features offered "
            "at the first gate, never labels, other gates or the answers of masks"
        )
    return act


def called_by_us(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls code of an entry; what it raises becomes one line that says where."""
    try:
        return function(*arguments)
    except KeyboardInterrupt:
        raise
    # SystemExit would end the command as if it had succeeded.
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ValueError(
            f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
        ) from error
