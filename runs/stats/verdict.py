"""Sentences on a comparison: which method is best, if one is; which baselines match a policy.

A method is called best only if its 95 % interval over seeds lies apart from every other
method's, and every method has an interval. Otherwise the sentence says why there is no verdict,
without the words "best", "largest" or "smallest". It names all methods that were compared.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ccenv.base.mask_words import SHOWN
from ccenv.runs.stats.intervals import (
    FEWEST,
    MORE,
    NO_MORE,
    UNDECIDED,
    Interval,
    compare_intervals,
    decide,
    with_interval,
)

Row = Mapping[str, Any]
"""As `Comparison.rows` hold it."""
SLACK = 1.05
"""Of a budget that a row may use: rows that are meant for one differ by that."""
MARGINS = {"error": 0.25, "bits": 0.02}
"""What two rows are compared by -> share of a policy's number by which a baseline that matches it
may have more, at the upper end of the difference's interval."""
NAMED = 6
"""Most methods that are named as not significantly different from the first."""
AGAINST_RANDOM = {
    "better": ("has", "have", "less error"),
    "no difference": ("is", "are", "not significantly different"),
    "worse": ("has", "have", "more error"),
}
"""Finding of a row against random masks -> how a sentence says it of one, and of several."""


@dataclass(frozen=True)
class Contender:
    """A method that is compared with others; baselines are contenders, too."""

    name: str
    """as sentences call it."""
    interval: Interval
    """of the number that is compared, over seeds."""
    num_seeds: int
    """behind the interval."""


@dataclass(frozen=True)
class Score:
    """The number that methods are compared by."""

    name: str
    """as sentences call it."""
    more_is_better: bool
    """False for errors."""
    spec: str = ".3f"
    """how it is written, as in `Interval.__format__`."""
    ends: tuple[float, float] = (0.0, 1.0)
    """least and greatest value possible."""

    def said(self, one: Contender) -> str:
        """A method with its number and interval."""
        number = with_interval(one.interval, one.num_seeds, self.spec, self.ends)
        return f"{one.name} {number}" + (" %" if self.spec.endswith("%") else "")


def verdict(contenders: Sequence[Contender], score: Score) -> str:
    """Names the best of some methods, or says why none can be named.

    Args:
        contenders: all methods of the comparison, baselines included.
        score: what they are compared by.

    Returns:
        A sentence without a capital letter and a full stop.

    >>> a, b = Contender("a", Interval(0.9, 0.01, 0.8, 1.0), 3), Contender("b", Interval(0.5), 1)
    >>> verdict([a, b], Score("suite score", more_is_better=True))
    'no verdict: fewer than 3 seeds of b; compared: a; b'
    """
    if not contenders:
        return "nothing to compare yet"
    if len(contenders) == 1:
        return f"only {contenders[0].name}: nothing to compare with"
    ending = f"; compared: {'; '.join(one.name for one in contenders)}"
    few = [one.name for one in contenders if one.num_seeds < FEWEST]
    if few:
        return f"no verdict: fewer than {FEWEST} seeds of {first_names(few)}{ending}"
    sign, better = (-1, "worse") if score.more_is_better else (1, "better")
    first, *others = sorted(contenders, key=lambda one: sign * one.interval.mean)
    close = [one for one in others if compare_intervals(first.interval, one.interval) != better]
    if close:
        overlapping = first_names([score.said(one) for one in close])
        sentence = f"{score.said(first)} is not significantly different from {overlapping}"
        return f"no verdict: {sentence}{ending}"
    word = "largest" if score.more_is_better else "smallest"
    return (
        f"{score.said(first)} has the {word} {score.name}, significantly different from all "
        f"others (95 % intervals do not overlap){ending}"
    )


def baseline_sentences(rows: Sequence[Row]) -> list[str]:
    """Two sentences for each data set: learned policies against random masks, and all baselines.

    A baseline matches a policy if it needs no more MACs and memory, and its error (of texts, its
    bits) is no more by `ccenv.runs.stats.intervals.decide`; where intervals are too wide for that,
    it is not decided. Rows are named by their methods. Ceilings, which know the labels, are left
    out, and policies of few seeds are named as such. Rows that repeat another in all common seeds
    are named and count once. Nothing is called best.

    Args:
        rows: of `ccenv.runs.engine.sweep_runs.SweepRuns.rows`.
    """
    sentences = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        able = [row for row in rows if row["dataset"] == dataset and not row["uses_labels"]]
        same = [row for row in able if row.get("same_as")]
        learned = [row for row in able if row["learns"] and not row.get("same_as")]
        learned.sort(key=lambda row: not row["added"])
        judged = [row for row in learned if len(row["seeds"]) >= FEWEST]
        few = [row for row in learned if row not in judged]
        if few:
            names = spoken(methods_of(few, learned))
            sentences.append(f"On {dataset} no verdict: fewer than {FEWEST} seeds of {names}.")
        if judged:
            number = f"{len(judged)} policies; " if crosses_shapings(judged) else ""
            start = f"On {dataset} ({number}{masks_in_words(judged)})"
            all_of_them = against_all(judged, [row for row in able if not row["learns"]])
            if any(row["verdict"] in AGAINST_RANDOM for row in judged):
                sentences += [f"{start}, {against_random(judged)}", all_of_them]
            else:
                sentences.append(f"{start}: {all_of_them}")
        sentences += far_masks(learned)
        if same:
            pairs = first_names([f"{row['label']} = {row['same_as']}" for row in same])
            sentences.append(f"The same results, counted as one: {pairs}.")
        elif not learned:
            sentences.append(f"On {dataset} no policy that learns has a result yet.")
    return sentences


def against_random(learned: Sequence[Row]) -> str:
    """Which learned policies have less error than random masks of the same cost."""
    groups: dict[tuple[str, str, str], list[Row]] = {words: [] for words in AGAINST_RANDOM.values()}
    for row in learned:
        words = AGAINST_RANDOM.get(row["verdict"], ("is", "are", "not comparable"))
        groups.setdefault(words, []).append(row)
    parts = []
    for (one, several, what), rows in groups.items():
        if rows:
            who, is_one = named_rows(rows, learned)
            parts.append(f"{who} {one if is_one else several} {what}")
            means = [100 * row["above_random"]["mean"] for row in rows if row["above_random"]]
            if means:
                least, greatest = (f"{of(means):+.1f}" for of in (min, max))
                span = least if least == greatest else f"{least} to {greatest}"
                parts[-1] += f" ({span} points)"
    return f"compared with random masks of the same cost, {'; '.join(parts)}."


def against_all(learned: Sequence[Row], baselines: Sequence[Row]) -> str:
    """Which learned policies are matched by a baseline of no more compute and memory."""
    if not baselines:
        return "There is no baseline in this comparison."
    groups: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
    unknown = [policy for policy in learned if not policy["macs"]]
    learned = [policy for policy in learned if policy["macs"]]
    unknown_part = f"MACs are unknown of {spoken(methods_of(unknown))}." if unknown else ""
    if not learned:
        return unknown_part
    for policy in learned:
        by_outcome: dict[str, list[Row]] = {}
        for one in baselines:
            by_outcome.setdefault(matches(one, policy), []).append(one)
        word = next((word for word in (NO_MORE, UNDECIDED) if word in by_outcome), MORE)
        names = tuple(methods_of(by_outcome[word])) if word != MORE else ()
        groups.setdefault((word, names), []).append(policy)
    every = f"no baseline ({spoken(methods_of(baselines))}) matches"
    parts = []
    for word, names in sorted(groups, key=lambda key: (NO_MORE, UNDECIDED, MORE).index(key[0])):
        who, _ = named_rows(groups[word, names], learned)
        verb = "matches" if len(names) == 1 else "match"
        claim = f"{f'{spoken(names)} {verb}' if names else every} {who}"
        parts.append(
            f"these intervals do not decide whether {claim}" if word == UNDECIDED else claim
        )
    score = score_name(learned[0], baselines[0])
    sentence = (
        f"With no more compute and memory, and not significantly more {score} (at most "
        f"{100 * MARGINS[score]:.0f} % more), {'; '.join(parts)}."
    )
    return f"{sentence} {unknown_part}".strip()


def masks_in_words(learned: Sequence[Row]) -> str:
    """How masks of some rows are chosen; where they differ, of whom which.

    >>> rows = [{"method": name, "masks": kind} for name, kind in (("a", "mode"), ("b", "sampled"))]
    >>> masks_in_words(rows[:1]), masks_in_words(rows)
    ('greedy masks', 'greedy masks: a; sampled masks: b')
    """
    groups: dict[str, list[Row]] = {}
    for row in learned:
        groups.setdefault(f"{SHOWN[row['masks']]} masks", []).append(row)
    if len(groups) == 1:
        return next(iter(groups))
    return "; ".join(
        f"{kind}: {spoken(methods_of(rows, learned))}" for kind, rows in groups.items()
    )


def far_masks(learned: Sequence[Row]) -> list[str]:
    """Sentences on rows whose other kind of masks gives much another error or cost."""
    far = [row for row in learned if row["other_masks"]]
    named = far if len(far) <= NAMED else [row for row in far if row["added"]]
    groups: dict[str, list[str]] = {}
    for row in named:
        other = row["other_masks"]
        cost = "" if other["total_cost"] is None else f" at cost {other['total_cost']:.3f}"
        words = f"{row['label']} has {100 * other['error']:.2f} %{cost}"
        groups.setdefault(SHOWN[other["masks"]], []).append(words)
    sentences = [f"Judged with {kind} masks, {'; '.join(rows)}." for kind, rows in groups.items()]
    if more := len(far) - len(named):
        also = "also " if named else ""
        sentences.append(
            f"With the other kind of masks, error or cost {also}differ much in {more} of "
            f"{len(learned)} rows."
        )
    return sentences


def matches(baseline: Row, policy: Row) -> str:
    """Whether a baseline needs no more MACs and memory, and has no more error: as `decide` says it.

    Bits take the place of the error where both rows have them. Memory may be 5 % more, and is
    compared where both rows know it. Of a baseline with few seeds, such as counts, its mean is
    compared.
    """
    name = score_name(policy, baseline)
    theirs, ours = (Interval(**row[name]) for row in (baseline, policy))
    sizes = policy["memory_bytes"], baseline["memory_bytes"]
    is_larger = None not in sizes and sizes[1] > SLACK * sizes[0]
    is_dearer = not baseline["macs"] or baseline["macs"]["mean"] > policy["macs"]["mean"]
    if is_larger or is_dearer:
        return MORE
    has_few = len(baseline["seeds"]) < FEWEST
    return decide(Interval(theirs.mean) if has_few else theirs, ours, MARGINS[name])


def score_name(policy: Row, baseline: Row) -> str:
    """What two rows are compared by: "bits" where both have them, else "error"."""
    return "bits" if baseline["bits"] and policy["bits"] else "error"


def methods_of(rows: Sequence[Row], among: Sequence[Row] | None = None) -> list[str]:
    """Methods of some rows, and how many of a method's rows they are where not all of `among`.

    >>> rows = [{"method": "rloo", "label": f"rloo {size} x 16"} for size in (8, 16, 32)]
    >>> methods_of(rows[:2], rows), methods_of(rows)
    (['rloo (2 of 3 rows)'], ['rloo'])
    """
    parts, totals = (Counter(row["method"] for row in group) for group in (rows, among or rows))
    return [
        name if count == totals[name] else f"{name} ({count} of {totals[name]} rows)"
        for name, count in parts.items()
    ]


def crosses_shapings(rows: Sequence[Row]) -> bool:
    """Whether several agents learned under several rewards: a row of each pair is too many."""
    learned = [row for row in rows if row["learns"] and not row["added"]]
    pairs = {(row["agent"], row["shaping"]) for row in learned}
    agents, shapings = ({pair[place] for pair in pairs} for place in (0, 1))
    return min(len(agents), len(shapings)) > 1 and NAMED < len(pairs) > len(agents) + len(shapings)


def named_rows(rows: Sequence[Row], among: Sequence[Row]) -> tuple[str, bool]:
    """Methods of some rows, and whether it is one; numbers where agents cross with shapings."""
    if crosses_shapings(among):
        return f"{len(rows)} {'policy' if len(rows) == 1 else 'policies'}", len(rows) == 1
    names = methods_of(rows, among)
    return spoken(names), len(names) == 1


def spoken(names: Sequence[str]) -> str:
    """A list of names in a sentence, which stays short.

    >>> spoken(["a"]), spoken(["a", "b", "c"]), spoken(list("abcdefgh"))
    ('a', 'a, b and c', 'a, b, c, d, e, f and 2 others')
    """
    left = len(names) - NAMED
    rest = [f"{left} other{'s' if left > 1 else ''}"] if left > 0 else []
    *first, last = [*names[:NAMED], *rest]
    return f"{', '.join(first)} and {last}" if first else last


def first_names(names: Sequence[str]) -> str:
    """A list of names that stays short.

    >>> first_names(["a", "b"]), first_names(list("abcdefgh"))
    ('a; b', 'a; b; c; d; e; f; and 2 others')
    """
    left = len(names) - NAMED
    more = f"; and {left} other{'s' if left > 1 else ''}" if left > 0 else ""
    return "; ".join(names[:NAMED]) + more
