"""Laws of the sentence about the best method, on tables whose answers are known."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccenv.runs.adding import additions, with_added
from ccenv.runs.report.tables import equal_cost_tables
from ccenv.runs.stats.equal_cost import make_methods, method_verdict
from ccenv.runs.stats.intervals import FEWEST, mean_interval
from ccenv.runs.stats.verdict import Contender, RowPlace, Score, baseline_sentences, verdict
from ccenv.runs.studies import find_study

SCORE = Score("suite score", more_is_better=True)
ERROR = Score("test error", more_is_better=False, spec=".1%")
CROWNS = re.compile(r"\b(best|largest|smallest)\b")


def contender(name, *values, places=(), is_ceiling=False):
    return Contender(name, mean_interval(values), len(values), places, is_ceiling)


def run(agent, seed, macs, error, *, reward="negative_nll", method="", uses_labels=False):
    """What is read of a recorded result."""
    evaluation = {"split": "test", "mode": "sampled", "macs": macs, "error": error}
    evaluation |= {"total_cost": macs / 1000}
    network = {"network": "mlp", "num_blocks": [4], "block_size": 8, "head_units": []}
    return {
        "agent": agent,
        "seed": seed,
        "reward": reward,
        "learns": agent == "rloo",
        "uses_labels": uses_labels,
        "evaluations": [evaluation],
        "settings": {"environment": {"dataset": "digits", "activation": "relu"} | network},
        "method": method,
    }


def runs(agent, macs, *errors, **given):
    return [run(agent, seed, macs, error, **given) for seed, error in enumerate(errors)]


RATES = {
    f"random {macs}": runs("block_dropout", macs, *[error] * 9)
    for macs, error in ((50, 0.7), (1000, 0.5))
}
RLOO = {"rloo": runs("rloo", 200, 0.20, 0.21, 0.20)}
BASELINES = {
    "hash": runs("hash", 190, 0.10, 0.11, 0.10),
    "ngram": runs("pruned", 100, 0.05, 0.051, 0.05, method="ngram"),
    "pruned 8": runs("pruned", 180, 0.12, 0.121, 0.12),
}


def verdict_on(table):
    return method_verdict(make_methods(table | RATES))


def test_all_baselines_are_in_the_set_that_the_sentence_names():
    oracle = {"oracle": runs("oracle", 50, 0.0, 0.0, 0.0, uses_labels=True)}
    found = verdict_on(RLOO | BASELINES | oracle)
    assert found.best.name == "ngram"
    assert found.sentence.endswith(
        "compared: rloo; hash; ngram; pruned; block_dropout (ceilings left out: oracle)"
    )


def test_baselines_stay_in_the_set_where_agents_learned_under_several_rewards():
    # The set was once narrowed to learners here, and the best of them was called the best of all.
    limited = {"rloo, a limit": runs("rloo", 220, 0.4, 0.41, 0.4, reward="lagrangian")}
    found = verdict_on(RLOO | limited | {"hash": BASELINES["hash"]})
    assert found.best.name == "hash under negative_nll"
    assert "compared: rloo; hash; block_dropout; under 2 rewards" in found.sentence


def test_counts_are_no_variant_of_the_dense_networks_that_run_them():
    dense = {"pruned 8": runs("pruned", 500, 0.3, 0.31, 0.3)}
    methods = make_methods(dense | RATES | {"ngram": runs("pruned", 100, 0.05, method="ngram")})
    assert [(one.name, len(one.above)) for one in methods][::2] == [("pruned", 3), ("ngram", 1)]


@pytest.mark.parametrize("error", [0.05, 0.9])
def test_a_row_of_one_seed_gives_no_verdict_wherever_it_lies(error):
    found = verdict_on(RLOO | {"hash": runs("hash", 200, error)})
    assert found.best is None
    assert found.sentence.startswith(f"no verdict: fewer than {FEWEST} seeds of hash;")
    assert not CROWNS.search(found.sentence)


def test_one_method_alone_has_nothing_to_compare_with():
    found = method_verdict(make_methods(RLOO))
    assert (found.best, found.sentence) == (None, "only rloo: nothing to compare with")
    assert verdict([], SCORE).sentence == "nothing to compare yet"


def test_many_rows_do_not_make_a_method_best_where_another_dominates_one_of_them():
    many = {
        f"rloo {macs}": runs("rloo", macs, error, error + 0.001, error)
        for macs, error in ((100, 0.15), (200, 0.1), (400, 0.097))
    }
    dominating = {"pruned 8": runs("pruned", 300, 0.096, 0.097, 0.096)}
    found = verdict_on(many | dominating)
    assert found.best is None
    assert "pruned dominates rloo: 'pruned 8' has 9.63 % error at 300 MACs" in found.sentence
    assert not CROWNS.search(found.sentence)


def test_a_dominated_row_of_a_method_that_has_a_better_one_itself_says_nothing():
    spare = {"rloo spare": runs("rloo", 900, 0.45, 0.45, 0.45)}
    dense = {"pruned 8": runs("pruned", 800, 0.44, 0.45, 0.44)}
    assert verdict_on(RLOO | spare | dense).best.name == "rloo"


def test_a_claim_names_methods_with_less_error_for_more_macs():
    dearer = {"pruned 8": runs("pruned", 900, 0.19, 0.191, 0.19)}
    found = verdict_on(RLOO | dearer)
    assert found.best.name == "rloo"
    assert "rloo -40.41 [-41.85, -38.98] % has the smallest error above random" in found.sentence
    assert "; less error for more MACs: pruned;" in found.sentence


def test_a_method_whose_rows_share_no_seed_is_named_and_gives_no_verdict():
    apart = {
        "hash a": [run("hash", 7, 200, 0.1)],
        "hash b": [run("hash", 8, 300, 0.1)],
    }
    found = verdict_on(RLOO | {"pruned": BASELINES["pruned 8"]} | apart)
    assert found.sentence.startswith(f"no verdict: fewer than {FEWEST} seeds of hash;")


def test_a_method_without_the_number_is_named_and_its_rows_may_still_dominate():
    other = {"settings": {"environment": {"dataset": "digits", "network": "cnn"}}}
    other["settings"]["environment"] |= {"activation": "relu", "num_blocks": [1], "block_size": 9}
    other["settings"]["environment"] |= {"head_units": []}
    dear = {"cnn": [one | other for one in runs("pruned", 900, 0.1, 0.1, 0.1, method="cnn")]}
    found = verdict_on(RLOO | dear)
    assert found.best.name == "rloo"
    assert found.sentence.endswith("; without error above random masks': cnn")
    cheap = {"cnn": [one | other for one in runs("pruned", 60, 0.1, 0.1, 0.1, method="cnn")]}
    assert "cnn dominates rloo" in verdict_on(RLOO | cheap).sentence


def test_the_one_number_is_the_paired_difference_at_equal_cost_on_a_logarithmic_axis():
    @dataclasses.dataclass
    class Compared:
        results: dict
        draw: str = "sampled"

    # Between a hundredth and one a tenth is half way; a rate that a cheaper one beats is no floor.
    floor = ((10, (0.8, 0.6)), (1000, (0.4, 0.2)), (2000, (0.9, 0.9)))
    table = {f"random {macs}": runs("block_dropout", macs, *errors) for macs, errors in floor}
    table |= {"a": runs("rloo", 100, 0.5, 0.3), "b": runs("rloo", 1500, 0.5, 0.1)}
    table |= {"cheap": runs("rloo", 9, 0.1, 0.1)}
    method = make_methods(table)[-1]
    assert (method.num_judged, len(method.labels)) == (2, 3)
    assert method.above == pytest.approx({0: (-0.1 + 0.1) / 2, 1: (-0.1 - 0.1) / 2})
    (shown,) = equal_cost_tables(Compared(table))
    assert shown.texts[-1][:3] == ["rloo", "-5.00 (2 seeds: too few)", "2 of 3"]


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


@given(st.lists(CONTENDERS, max_size=5), st.sampled_from([SCORE, ERROR]))
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
        "agent": method,
        "shaping": "accuracy_minus_cost",
        "added": False,
        "dataset": "digits",
        "learns": learns,
        "uses_labels": False,
        "verdict": verdict if learns else "",
        "above_random": None,
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
        f"random masks of the same cost: {sentences}"
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
    many = [row_of("c", 0.05, 200, other_masks="greedy 1.00 %") for _ in range(7)]
    added = row_of("d", 0.05, 200, other_masks="greedy 2.00 %", added=True)
    assert baseline_sentences([*many, added, STATIC])[-1] == (
        "Under the other kind of masks: d greedy 2.00 %; much another error or cost in 7 of 8 rows."
    )
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
    methods = make_methods(RLOO | {own.label: added})
    assert {method.name: method.labels for method in methods} == {
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
