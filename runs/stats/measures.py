"""What a stored result says, and the numbers by which networks are compared.

A symbol of a text is a byte, but for those that `ccenv.annexes.data.windows` takes together as
"other": there a bit says that it is one of them, not which.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.base.mask_words import deterministic_of, kind_in_words

OBSERVED = "observed"
"""Key of a result that says what was shown: "layer_input" where `summary` fell back to it."""
OF_SYMBOLS = "of_symbols"
"""Key of a result that says whether its inputs were windows of symbols."""
BITS_NOTE = "Bits: nll over ln 2, of one of 128 symbols (a byte, or any rare one)."


@dataclass(frozen=True)
class Measure:
    """A number of each evaluation."""

    name: str
    """in the names of tables and figures; "" for the usual one."""
    title: str
    """what it is, without a unit."""
    unit: str
    """behind numbers, "%" or a word."""
    of: Callable[[Mapping[str, Any]], float]
    """(an evaluation as results hold it) -> the number, a share where the unit is "%"."""
    spec: str
    """how it is written in tables, as in `Interval.__format__`."""

    @property
    def factor(self) -> float:
        """From the number to what is shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def sign(self) -> str:
        """Behind a heading, where the unit is no word of it."""
        return " %" if self.unit == "%" else ""

    @property
    def titled(self) -> str:
        """What it is, with its unit."""
        return self.title + self.sign

    @property
    def heading(self) -> str:
        """Of a column or an axis of it on test data."""
        return f"test {self.titled}"

    @property
    def ends(self) -> tuple[float, float]:
        """Least and greatest value possible."""
        return 0.0, 1.0 if self.unit == "%" else math.inf


ERROR = Measure("", "error", "%", lambda verdict: float(verdict["error"]), ".2%")
BITS = Measure("bits", "bits a symbol", "bits", lambda one: one["nll"] / math.log(2), ".3f")
"""Of texts; see the top of this module."""
NLL = Measure("nll", "nll in nats", "nats", lambda verdict: float(verdict["nll"]), ".3f")
"""Negative log-likelihood of the label."""
MEASURES = {"error": ERROR, "bits": BITS}
"""Measures by the names that sweeps use."""


def bits_in(result: Mapping[str, Any], evaluation: Mapping[str, Any]) -> float | None:
    """Bits a symbol of an evaluation; None where a result is not about symbols."""
    return BITS.of(evaluation) if result.get(OF_SYMBOLS) else None


def lines_beside_error(result: Mapping[str, Any]) -> list[str]:
    """What says more than the error on test inputs, of sampled and greedy masks.

    Bits of texts; else, where an episode is a sequence, the mean return.
    """
    judged = result["evaluations"][:2]
    sampled, greedy = (bits_in(result, one) for one in judged)
    if sampled is not None and greedy is not None:
        return [f"test bits a symbol (nll / ln 2): {sampled:.4f}, {greedy:.4f}"]
    settings = result.get("settings")
    if not isinstance(settings, Mapping) or settings["environment"].get("episode") != "sequence":
        return []
    sampled, greedy = (one["mean_return"] for one in judged)
    return [f"mean return {sampled:.4f} (sampled masks), {greedy:.4f} (greedy masks)"]


Result = Mapping[str, Any]
DETERMINISTIC = "deterministic"
"""Key of a result whose agent is for greedy masks; of those without it masks are sampled."""
UNKNOWN = "-"
"""Reward of a policy that was trained elsewhere, where the user does not say it."""
RANDOM_MASKS = "block_dropout"
"""Agent whose masks depend on nothing but a rate."""
HALVE = "halve"
"""The transform that leaves a result comparable with those on whole images."""
NUMBER_BYTES = 4
"""Of a policy: float32, and entries of a table of blocks."""


def was_deterministic(evaluation: Mapping[str, Any]) -> bool | None:
    """Whether masks of an evaluation were greedy (True) or sampled; None: as given by a function.

    >>> was_deterministic({"split": "test", "mode": "sampled", "error": 0.05})
    False
    """
    return deterministic_of(evaluation["mode"])


def evaluation(result: Result, deterministic: bool | None) -> Mapping[str, Any]:
    """A result's verdict on test inputs, of greedy masks (True) or sampled ones.

    Masks that a function gave are both; None finds these alone.
    """
    matching: Mapping[str, Any] = next(
        e
        for e in result["evaluations"]
        if e["split"] == "test" and was_deterministic(e) in (deterministic, None)
    )
    return matching


def shown_evaluation(result: Result, deterministic: bool | None) -> Mapping[str, Any]:
    """The same for tables and figures, which always sample random masks.

    Greedy random masks keep all blocks or none, so their error says nothing about the rate.
    """
    return evaluation(result, shown_masks(result, deterministic))


def shown_masks(result: Result, deterministic: bool | None) -> bool | None:
    """Which masks tables show: None if a function gave them, False for random masks, else as asked.

    If None is asked, those that the agent is for.
    """
    if was_deterministic(result["evaluations"][0]) is None:
        return None
    if result["agent"] == RANDOM_MASKS:
        return False
    return bool(result.get(DETERMINISTIC)) if deterministic is None else deterministic


def repeated(results: Mapping[str, Sequence[Result]]) -> dict[str, str]:
    """Finds rows that are one: numbers of all evaluations are equal in all common seeds.

    Rows of one policy under different masks are two.

    Returns:
        Label of a row -> label of the row that it repeats: the one with more seeds; among as many,
        one that does not learn, or the first.
    """
    names = ("split", "mode", "nll", "error", "macs")
    rows: dict[str, dict[int, list[Any]]] = {}
    for label, run in ((label, run) for label, runs in results.items() for run in runs):
        numbers = [[e[name] for name in names] for e in run["evaluations"]]
        rows.setdefault(label, {})[run["seed"]] = [
            dataset_of(run),
            run.get(DETERMINISTIC, False),
            *numbers,
        ]
    order = sorted(rows, key=lambda label: (-len(rows[label]), results[label][0]["learns"]))
    first_of: dict[str, str] = {}
    for place, label in enumerate(order):
        for other in order[:place]:
            common = rows[label].keys() & rows[other].keys()
            if common and all(rows[label][seed] == rows[other][seed] for seed in common):
                first_of[label] = first_of.get(other, other)
                break
    return first_of


OTHER_DATA = "other_data"
"""Entry of a result whose data set has the name of the others', and another checksum: its start."""


def dataset_of(result: Result) -> str:
    """Images that a result is about, whole ones where the network was given halves.

    >>> images = {"dataset": "svhn", "transforms": ["shift=2", "halve", "standardise"]}
    >>> dataset_of({"settings": {"environment": images}})
    'svhn+shift=2+standardise'
    """
    transforms = [name for name in transforms_of(result) if name != HALVE]
    others = [result[OTHER_DATA]] if OTHER_DATA in result else []
    return "+".join([str(result["settings"]["environment"]["dataset"]), *transforms, *others])


def method_of(result: Result) -> str:
    """What a result's row is a variant of: what its sweep says, else its agent.

    >>> method_of({"agent": "dense"}), method_of({"agent": "dense", "method": "gru"})
    ('dense', 'gru')
    """
    return str(result.get("method") or result["agent"])


def memory_of(result: Result) -> int | None:
    """Bytes of the network and its policy; None of results from before networks' were recorded.

    >>> memory_of({"memory_bytes": 100, "num_parameters": 5})
    120
    """
    network, policy = result.get("memory_bytes"), result.get("num_parameters")
    if network is None or policy is None:
        return None
    return int(network) + NUMBER_BYTES * int(policy)


def transforms_of(result: Result) -> Sequence[str]:
    """Names of what images went through; none where settings are a hash or older than these."""
    settings = result["settings"]
    if not isinstance(settings, Mapping):
        return ()
    return tuple(settings["environment"].get("transforms", ()))


def network_shape(result: Result) -> tuple[Any, Any]:
    """Blocks of each gated layer, and what is left of the network if one does not see them."""
    environment = result["settings"]["environment"]
    kwargs = dict(environment.get("network_kwargs", {}))
    blocks, size = (
        kwargs.pop(name, environment.get(name)) for name in ("num_blocks", "block_size")
    )
    blocks = blocks if isinstance(blocks, Sequence) else [blocks]
    sizes = size if isinstance(size, Sequence) else [size]
    sizes = list(sizes) * (len(blocks) if len(sizes) == 1 else 1)
    widths = [n * size for n, size in zip(blocks, sizes, strict=True)]
    rest = [environment[name] for name in ("dataset", "network", "head_units", "activation")]
    return list(blocks), [widths, transforms_of(result), *rest, kwargs]


LEAST_GAP = 0.02
"""Smaller differences of two error rates are not worth a warning, however many inputs there are."""
STANDARD_ERRORS = 2


def mask_gap(sampled: float, greedy: float, num_inputs: int, split: str = "test") -> str:
    """A warning where masks of one kind have many more errors than those of the other.

    Args:
        sampled: error rate with sampled masks, in [0, 1].
        greedy: error rate with greedy (most probable) masks, in [0, 1].
        num_inputs: that both are from.
        split: which inputs.

    Returns:
        "" unless the errors differ by at least `LEAST_GAP` and by more than `STANDARD_ERRORS` of
        the difference of two shares of so many inputs. The inputs are the same for both, so that
        standard error is an upper bound where answers agree.

    >>> mask_gap(0.06, 0.07, 10_000)
    ''
    >>> mask_gap(0.06, 0.36, 500).partition(":")[0]
    'greedy masks have 36.0 % error, sampled masks 6.0 %, on 500 test inputs'
    """
    variance = (sampled * (1 - sampled) + greedy * (1 - greedy)) / num_inputs
    if abs(greedy - sampled) < max(LEAST_GAP, STANDARD_ERRORS * math.sqrt(variance)):
        return ""
    errors = {True: greedy, False: sampled}
    worse, better = sorted(errors, key=lambda kind: -errors[kind])
    less = kind_in_words(better)
    return (
        f"{kind_in_words(worse)} masks have {100 * errors[worse]:.1f} % error, {less} masks "
        f"{100 * errors[better]:.1f} %, on {num_inputs:,} {split} inputs: take {less} "
        f"masks (deterministic={better}) or train longer"
    )
