"""Laws of the sentence about the best method, on tables whose answers are known."""

import math
import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import table_row

from ccenv.runs.stats.intervals import FEWEST, mean_interval
from ccenv.runs.stats.verdict import Contender, Score, baseline_sentences, verdict

SCORE = Score("suite score", more_is_better=True)
ERROR = Score("test error", more_is_better=False, spec=".1%")
CROWNS = re.compile(r"\b(best|largest|smallest)\b")


def contender(name, *values):
    return Contender(name, mean_interval(values), len(values))


def test_the_best_of_methods_apart_is_named_with_all_that_were_compared():
    apart = [contender("a", 0.1, 0.11, 0.1), contender("b", 0.5, 0.51, 0.5)]
    assert verdict(apart, ERROR) == (
        "a 10.3 [8.9, 11.8] % has the smallest test error, significantly different from all others "
        "(95 % intervals do not overlap); compared: a; b"
    )
    assert verdict(apart, SCORE).startswith("b 0.503 [0.489, 0.518] has the largest suite score")


@pytest.mark.parametrize("error", [0.05, 0.9])
def test_a_row_of_one_seed_gives_no_verdict_wherever_it_lies(error):
    found = verdict([contender("rloo", 0.20, 0.21, 0.20), contender("hash", error)], ERROR)
    assert found == f"no verdict: fewer than {FEWEST} seeds of hash; compared: rloo; hash"


def test_one_method_alone_has_nothing_to_compare_with():
    assert verdict([contender("rloo", 0.2)], ERROR) == "only rloo: nothing to compare with"
    assert verdict([], SCORE) == "nothing to compare yet"


NUMBERS = st.floats(0, 1, allow_subnormal=False)
CONTENDERS = st.builds(contender, st.sampled_from("abcdef"), NUMBERS, *[NUMBERS] * (FEWEST - 1))


@given(st.lists(CONTENDERS, max_size=5), st.sampled_from([SCORE, ERROR]))
def test_who_is_best_lies_apart_from_all_others(contenders, score):
    found = verdict(contenders, score)
    sign = -1 if score.more_is_better else 1
    ours = min(contenders, key=lambda one: sign * one.interval.mean, default=None)
    is_apart = len(contenders) > 1 and all(
        ours.interval.low > one.interval.high
        if score.more_is_better
        else ours.interval.high < one.interval.low
        for one in contenders
        if one is not ours
    )
    assert bool(CROWNS.search(found)) == is_apart
    if is_apart:
        assert found.startswith(f"{ours.name} ")


row_of = partial(table_row, learns=True, half=0.005)
MATCHED = "With no more compute and memory, and not significantly more error (at most 25 % more), "
STATIC = row_of("static", 0.05, 100, learns=False)
RANDOM = row_of("random", 0.30, 50, learns=False)


@pytest.mark.parametrize(
    ("rows", "sentences"),
    [
        (
            [row_of("a", 0.05, 200), STATIC],
            f"a has less error. {MATCHED}static matches a.",
        ),
        (
            [row_of("a", 0.01, 200), STATIC, RANDOM],
            f"a has less error. {MATCHED}no baseline (static and random) matches a.",
        ),
        (
            [row_of("a", 0.05, 90), STATIC],
            f"a has less error. {MATCHED}no baseline (static) matches a.",
        ),
        (
            [row_of("a", 0.4, 90, verdict="worse"), row_of("b", 0.01, 90, verdict="no difference")],
            "b is not significantly different; a has more error. "
            "There is no baseline in this comparison.",
        ),
        (
            [row_of("a", 0.05, 200), row_of("count", 0.055, 10, learns=False, seeds=1)],
            f"a has less error. {MATCHED}count matches a.",
        ),
    ],
)
def test_sentences_name_the_baselines_that_match_a_policy(rows, sentences):
    assert " ".join(baseline_sentences(rows)).endswith(
        f"random masks of the same cost, {sentences}"
    )


def interval_row(label, low, high, **more):
    return row_of(label, (low + high) / 2, 100, half=(high - low) / 2, **more)


@pytest.mark.parametrize(
    ("baseline", "policy"),
    [((0.011, 0.097), (0.049, 0.059)), ((0.049, 0.059), (0.011, 0.097))],
)
def test_no_sentence_says_matches_of_an_interval_that_is_too_wide(baseline, policy):
    rows = [interval_row("a", *policy), interval_row("static", *baseline, learns=False)]
    said = baseline_sentences(rows)[1]
    assert said == f"{MATCHED}these intervals do not decide whether static matches a."
    # What is decided about another baseline is said instead.
    narrow = interval_row("pruned", 0.04, 0.05, learns=False)
    if policy == (0.049, 0.059):
        assert baseline_sentences([*rows, narrow])[1] == f"{MATCHED}pruned matches a."


ENDS = st.tuples(st.integers(0, 200), st.integers(0, 200)).map(sorted)


@given(ENDS, ENDS)
def test_matching_is_decided_by_the_interval_of_the_difference(theirs, ours):
    theirs, ours = ([end / 1000 for end in ends] for ends in (theirs, ours))
    (middle, half), (our_middle, our_half) = (
        ((low + high) / 2, (high - low) / 2) for low, high in (theirs, ours)
    )
    rows = [interval_row("a", *ours), interval_row("static", *theirs, learns=False)]
    said = baseline_sentences(rows)[1]
    least, most = (
        middle - our_middle - half - our_half,
        middle - our_middle + math.hypot(half, our_half),
    )
    if least > 1e-9:
        assert "no baseline" in said
    elif least < -1e-9 and most < 0.25 * our_middle - 1e-9:
        assert said == f"{MATCHED}static matches a."
    elif least < -1e-9 and most > 0.25 * our_middle + 1e-9:
        assert "do not decide" in said


def test_sentences_leave_out_ceilings_and_say_where_seeds_are_few():
    oracle = row_of("oracle", 0.0, 1, learns=False, uses_labels=True)
    learned, few = row_of("a", 0.05, 200), row_of("b", 0.05, 200, seeds=2)
    assert "oracle" not in " ".join(baseline_sentences([learned, oracle, STATIC]))
    assert baseline_sentences([few, STATIC]) == ["On digits no verdict: fewer than 3 seeds of b."]
    assert baseline_sentences([STATIC]) == ["On digits no policy that learns has a result yet."]


def other(masks, error, total_cost=None):
    return {"masks": masks, "error": error, "total_cost": total_cost}


def test_sentences_say_whose_masks_are_greedy_and_where_the_other_kind_is_far_off():
    greedy = row_of("a", 0.05, 200, masks="mode", other_masks=other("sampled", 0.09, 0.3))
    first, _, last = baseline_sentences([greedy, row_of("b", 0.05, 200), STATIC])
    assert first.startswith("On digits (greedy masks: a; sampled masks: b), compared with random ")
    assert last == "Judged with sampled masks, a has 9.00 % at cost 0.300."
    many = [row_of("c", 0.05, 200, other_masks=other("mode", 0.01)) for _ in range(7)]
    added = row_of("d", 0.05, 200, other_masks=other("mode", 0.02), added=True)
    assert baseline_sentences([*many, added, STATIC])[-2:] == [
        "Judged with greedy masks, d has 2.00 %.",
        "With the other kind of masks, error or cost also differ much in 7 of 8 rows.",
    ]
    alone = baseline_sentences([row_of("b", 0.05, 200), STATIC])
    assert alone[0].startswith("On digits (sampled masks), compared with random masks")
    assert len(alone) == 2


def test_unknown_macs_of_a_policy_are_matched_by_no_baseline_and_match_none():
    unknown, ruled = row_of("f", 0.05, None), row_of("g", 0.05, None, learns=False)
    assert baseline_sentences([unknown, STATIC])[1] == "MACs are unknown of f."
    both = baseline_sentences([unknown, row_of("a", 0.05, 200), STATIC, ruled])[1]
    assert both == f"{MATCHED}static matches a. MACs are unknown of f."


def test_a_row_that_repeats_another_is_named_and_counts_once():
    rows = [row_of("a", 0.05, 200, same_as="static"), STATIC]
    one = "The same results, counted as one: a = static."
    assert baseline_sentences(rows) == [one]
    *others, last = baseline_sentences([*rows, row_of("b", 0.05, 200)])
    assert others[0].endswith("cost, b has less error.")
    assert last == one


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9), st.booleans()), min_size=1))
def test_no_sentence_says_best_and_every_policy_is_matched_or_not(numbers):
    rows = [
        row_of(f"{'p' if learns else 'q'}{n}", error, macs, learns=learns)
        for n, (error, macs, learns) in enumerate(numbers)
    ]
    text = " ".join(baseline_sentences(rows))
    assert not {"best", "largest", "smallest"} & set(text.split())
    if not any(row["learns"] for row in rows):
        assert text == "On digits no policy that learns has a result yet."


def test_sentences_name_methods_instead_of_rows_and_compare_at_equal_memory():
    policies = [row_of("rloo", 0.05, 200, memory_bytes=1000.0) for _ in range(9)]
    sizes = (("hash", 1000.0), ("counts", 1040.0), ("counts", 1060.0))
    baselines = [row_of(k, 0.05, 10, learns=False, memory_bytes=size) for k, size in sizes]
    dear = row_of("rloo", 0.05, 5, memory_bytes=1000.0)
    assert baseline_sentences([*policies, dear, *baselines])[1] == (
        f"{MATCHED}hash and counts match rloo (9 of 10 rows); "
        "no baseline (hash and counts) matches rloo (1 of 10 rows)."
    )
    assert (
        baseline_sentences([policies[0], baselines[2]])[1]
        == f"{MATCHED}no baseline (counts) matches rloo."
    )
