"""Laws of the sentence about the best method, on tables whose answers are known."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccenv.runs.comparing import additions, with_added
from ccenv.runs.report.tables import front_tables
from ccenv.runs.stats.fronts import front_verdict, make_fronts
from ccenv.runs.stats.intervals import FEWEST, mean_interval
from ccenv.runs.stats.verdict import Contender, RowPlace, Score, baseline_sentences, verdict
from ccenv.runs.studies import find_study

AREA = Score("hypervolume", more_is_better=True)
ERROR = Score("test error", more_is_better=False, spec=".1%")
CROWNS = re.compile(r"\b(best|largest|smallest)\b")


def contender(name, *values, places=(), is_ceiling=False):
    return Contender(name, mean_interval(values), len(values), places, is_ceiling)


def run(agent, seed, macs, error, *, reward="negative_nll", method="", uses_labels=False):
    """What is read of a recorded result."""
    evaluation = {"split": "test", "mode": "sampled", "macs": macs, "error": error}
    return {
        "agent": agent,
        "seed": seed,
        "reward": reward,
        "learns": agent == "rloo",
        "uses_labels": uses_labels,
        "dense_macs": 1000,
        "evaluations": [evaluation],
        "settings": {"environment": {"dataset": "digits"}},
        "method": method,
    }


def runs(agent, macs, *errors, **given):
    return [run(agent, seed, macs, error, **given) for seed, error in enumerate(errors)]


RLOO = {"rloo": runs("rloo", 200, 0.20, 0.21, 0.20)}
BASELINES = {
    "hash": runs("hash", 190, 0.10, 0.11, 0.10),
    "ngram": runs("dense", 100, 0.05, 0.051, 0.05, method="ngram"),
    "dense 8": runs("dense", 180, 0.12, 0.121, 0.12),
}


def verdict_on(table):
    return front_verdict(make_fronts(table))


@pytest.mark.parametrize("name", BASELINES)
def test_no_learner_is_best_where_one_baseline_is_better(name):
    found = verdict_on(RLOO | {name: BASELINES[name]})
    assert found.best is not None
    assert found.best.name == name.split()[0]
    assert "rloo has" not in found.sentence


def test_all_baselines_are_in_the_set_that_the_sentence_names():
    oracle = {"oracle": runs("oracle", 50, 0.0, 0.0, 0.0, uses_labels=True)}
    found = verdict_on(RLOO | BASELINES | oracle)
    assert found.best.name == "ngram"
    assert found.sentence.endswith("compared: rloo; hash; ngram; dense (ceilings left out: oracle)")


def test_baselines_stay_in_the_set_where_agents_learned_under_several_rewards():
    # The set was once narrowed to learners here, and the best of them was called the best of all.
    limited = {"rloo, a limit": runs("rloo", 220, 0.4, 0.41, 0.4, reward="lagrangian")}
    found = verdict_on(RLOO | limited | {"hash": BASELINES["hash"]})
    assert found.best.name == "hash under negative_nll"
    assert "compared: rloo; hash; under 2 rewards" in found.sentence


def test_counts_are_no_variant_of_the_dense_networks_that_run_them():
    dense = {"dense 8": runs("dense", 500, 0.3, 0.31, 0.3)}
    fronts = make_fronts(dense | {"ngram": runs("dense", 100, 0.05, method="ngram")})
    assert [(front.method, len(front.by_seed)) for front in fronts] == [("dense", 3), ("ngram", 1)]


def test_overlapping_intervals_give_no_verdict():
    found = verdict_on({"hash": runs("hash", 200, 0.19, 0.21, 0.2)} | RLOO)
    assert found.best is None
    assert "is not significantly different from" in found.sentence
    assert not CROWNS.search(found.sentence)


@pytest.mark.parametrize("error", [0.05, 0.9])
def test_a_row_of_one_seed_gives_no_verdict_wherever_it_lies(error):
    found = verdict_on(RLOO | {"hash": runs("hash", 200, error)})
    assert found.best is None
    assert found.sentence.startswith(f"no verdict: fewer than {FEWEST} seeds of hash;")
    assert not CROWNS.search(found.sentence)


def test_one_method_alone_has_nothing_to_compare_with():
    found = verdict_on(RLOO)
    assert (found.best, found.sentence) == (None, "only rloo: nothing to compare with")
    assert verdict([], AREA).sentence == "nothing to compare yet"


def test_many_rows_do_not_make_a_method_best_where_another_dominates_one_of_them():
    many = {
        f"rloo {macs}": runs("rloo", macs, error, error + 0.001, error)
        for macs, error in ((100, 0.5), (200, 0.3), (400, 0.15))
    }
    dominating = {"dense 8": runs("dense", 300, 0.1, 0.101, 0.1)}
    hypervolumes = {front.method: front.mean.mean for front in make_fronts(many | dominating)}
    assert hypervolumes["rloo"] > hypervolumes["dense"]
    found = verdict_on(many | dominating)
    assert found.best is None
    assert "dense dominates rloo: 'dense 8' has 10.03 % error at 300 MACs" in found.sentence
    assert not CROWNS.search(found.sentence)


def test_a_dominated_row_of_a_method_that_has_a_better_one_itself_says_nothing():
    spare = {"rloo spare": runs("rloo", 900, 0.9, 0.9, 0.9)}
    dense = {"dense 8": runs("dense", 800, 0.5, 0.51, 0.5)}
    assert verdict_on(RLOO | spare | dense).best.name == "rloo"


def test_a_claim_names_methods_with_less_error_for_more_macs():
    dearer = {"dense 8": runs("dense", 900, 0.01, 0.011, 0.01)}
    found = verdict_on(RLOO | dearer)
    assert found.best.name == "rloo"
    assert "rloo 0.637 [0.626, 0.649] has the largest hypervolume" in found.sentence
    assert "; less error for more MACs: dense;" in found.sentence


def test_a_method_whose_rows_share_no_seed_is_named_and_gives_no_verdict():
    apart = {
        "hash a": [run("hash", 7, 200, 0.1)],
        "hash b": [run("hash", 8, 300, 0.1)],
    }
    found = verdict_on(RLOO | {"dense": BASELINES["dense 8"]} | apart)
    assert found.sentence.startswith(f"no verdict: fewer than {FEWEST} seeds of hash;")


def test_of_errors_the_least_is_best():
    found = verdict([contender("a", 0.2, 0.21, 0.2), contender("b", 0.1, 0.11, 0.1)], ERROR)
    assert found.best.name == "b"
    assert found.sentence.startswith("b 10.3 [8.9, 11.8] % has the smallest test error")


def test_the_leader_of_a_table_of_fronts_is_marked_largest_only_if_it_is_best():
    @dataclasses.dataclass
    class Compared:
        results: dict
        draw: str = "sampled"
        own: frozenset = frozenset()

    def marks(table):
        (shown,) = front_tables(Compared(table))
        column = list(shown.columns).index("paired")
        return {line[0]: line[column] for line in shown.texts}

    assert marks(RLOO | {"hash": BASELINES["hash"]})["hash"] == "largest"
    assert marks(RLOO | {"hash": runs("hash", 200, 0.19, 0.21, 0.19)})["hash"] == "reference"


NUMBERS = st.floats(0, 1, allow_subnormal=False)
PLACES = st.builds(RowPlace, st.just("row"), st.just("digits"), st.floats(1, 9), NUMBERS)
CONTENDERS = st.builds(
    contender,
    st.sampled_from("abcdef"),
    NUMBERS,
    *[NUMBERS] * (FEWEST - 1),
    places=st.lists(PLACES, max_size=3).map(tuple),
    is_ceiling=st.booleans(),
)


@given(st.lists(CONTENDERS, max_size=5), st.sampled_from([AREA, ERROR]))
def test_who_is_best_lies_apart_from_all_others_and_no_row_of_them_dominates(contenders, score):
    found = verdict(contenders, score)
    assert (found.best is not None) == bool(CROWNS.search(found.sentence))
    if found.best is None:
        return
    others = [one for one in contenders if one is not found.best and not one.is_ceiling]
    assert not found.best.is_ceiling
    for other in others:
        ours, theirs = found.best.interval, other.interval
        assert ours.low > theirs.high if score.more_is_better else ours.high < theirs.low
        assert other.name in found.sentence
        for place in found.best.places:
            if any(place.is_dominated_by(theirs) for theirs in other.places):
                assert any(place.is_dominated_by(own) for own in found.best.places)


def row_of(method, error, macs, *, learns=True, verdict="better", seeds=3, half=0.01, **more):
    interval = {"mean": error, "sd": 0.0, "low": error - half, "high": error + half}
    return {
        "label": method,
        "method": method,
        "added": False,
        "dataset": "digits",
        "learns": learns,
        "uses_labels": False,
        "verdict": verdict if learns else "",
        "seeds": tuple(range(seeds)),
        "error": interval,
        "bits": None,
        "macs": None if macs is None else {"mean": macs},
        "masks": "sampled",
        "other_masks": "",
        "memory_bytes": None,
        **more,
    }


MATCHED = (
    "These baselines need no more compute and memory, and their error is not significantly higher"
)
STATIC = row_of("static", 0.05, 100, learns=False)
RANDOM = row_of("random", 0.30, 50, learns=False)


@pytest.mark.parametrize(
    ("rows", "sentences"),
    [
        (
            [row_of("a", 0.05, 200), STATIC],
            f"less error: a. {MATCHED}. For a: static.",
        ),
        (
            [row_of("a", 0.01, 200), STATIC, RANDOM],
            f"less error: a. {MATCHED}. For a: none of static; random.",
        ),
        (
            [row_of("a", 0.05, 90), STATIC],
            f"less error: a. {MATCHED}. For a: none of static.",
        ),
        (
            [row_of("a", 0.4, 90, verdict="worse"), row_of("b", 0.01, 90, verdict="no difference")],
            "not significantly different: b; more error: a. "
            "There is no baseline in this comparison.",
        ),
        (
            [row_of("a", 0.05, 200), row_of("count", 0.055, 10, learns=False, seeds=1)],
            f"less error: a. {MATCHED}. For a: count.",
        ),
    ],
)
def test_sentences_name_the_baselines_that_match_a_policy(rows, sentences):
    assert " ".join(baseline_sentences(rows)).endswith(
        f"random masks of the same compute cost: {sentences}"
    )


def test_sentences_leave_out_ceilings_and_say_where_seeds_are_few():
    oracle = row_of("oracle", 0.0, 1, learns=False, uses_labels=True)
    learned, few = row_of("a", 0.05, 200), row_of("b", 0.05, 200, seeds=2)
    assert "oracle" not in " ".join(baseline_sentences([learned, oracle, STATIC]))
    assert baseline_sentences([few, STATIC]) == ["On digits no verdict: fewer than 3 seeds of b."]
    assert baseline_sentences([STATIC]) == ["On digits no policy that learns has a result yet."]


def test_sentences_say_whose_masks_are_greedy_and_where_the_other_kind_is_far_off():
    greedy = row_of("a", 0.05, 200, masks="mode", other_masks="sampled 9.00 % at cost 0.300")
    first, _, last = baseline_sentences([greedy, row_of("b", 0.05, 200), STATIC])
    assert "2 learned policies (greedy masks: a; sampled masks: b) compared" in first
    assert last == "Under the other kind of masks: a sampled 9.00 % at cost 0.300."
    alone = baseline_sentences([row_of("b", 0.05, 200), STATIC])
    assert alone[0].startswith("On digits, 1 learned policy (sampled masks) compared")
    assert len(alone) == 2


def test_unknown_macs_of_a_policy_are_matched_by_no_baseline_and_match_none():
    unknown, ruled = row_of("f", 0.05, None), row_of("g", 0.05, None, learns=False)
    assert baseline_sentences([unknown, STATIC])[1] == "MACs are unknown of f."
    both = baseline_sentences([unknown, row_of("a", 0.05, 200), STATIC, ruled])[1]
    assert both == f"{MATCHED}. For a: static. MACs are unknown of f."


def test_a_row_that_repeats_another_is_named_and_counts_once():
    rows = [row_of("a", 0.05, 200, same_as="static"), STATIC]
    one = "Equal in all common seeds, counted as one: a = static."
    assert baseline_sentences(rows) == [one]
    *others, last = baseline_sentences([*rows, row_of("b", 0.05, 200)])
    assert others[0].endswith("less error: b.")
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


def test_an_added_agent_is_a_method_of_its_own():
    own = with_added(find_study("digits").sweep, additions(("rloo", {"num_kept": 3}))).cells[-1]
    added = [one | {"method": own.method} for one in runs("rloo", 300, 0.3, 0.31, 0.3)]
    assert own.added
    fronts = make_fronts(RLOO | {own.label: added})
    assert {front.method: front.labels for front in fronts} == {
        "rloo": ("rloo",),
        own.method: (own.label,),
    }


def test_sentences_name_methods_instead_of_rows_and_compare_at_equal_memory():
    policies = [row_of("rloo", 0.05, 200, memory_bytes=1000.0) for _ in range(9)]
    sizes = (("hash", 1000.0), ("counts", 1040.0), ("counts", 1060.0))
    baselines = [row_of(k, 0.05, 10, learns=False, memory_bytes=size) for k, size in sizes]
    dear = row_of("rloo", 0.05, 5, memory_bytes=1000.0)
    assert baseline_sentences([*policies, dear, *baselines])[1] == (
        f"{MATCHED}. For rloo (9 of 10 rows): hash; counts. "
        "For rloo (1 of 10 rows): none of hash; counts."
    )
    assert (
        baseline_sentences([policies[0], baselines[2]])[1]
        == f"{MATCHED}. For rloo: none of counts."
    )
