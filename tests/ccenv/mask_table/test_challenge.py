"""Laws of the challenge: shares are exact, labels unseen, what is forged or broken refused."""

import dataclasses
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from ccenv.base.checked_file import read_checked, write_checked
from ccenv.base.files import DamagedFileError, write_arrays
from ccenv.mask_table import (
    COST_WEIGHTS,
    all_masks,
    build,
    optimum,
    read_entry,
    read_policy,
    read_table,
    value,
    write_entry,
    write_policy,
)
from ccenv.mask_table.challenge import (
    AtWeight,
    Candidate,
    Judge,
    Standing,
    Task,
    candidate,
    ranked,
    recorded_policies,
    standings,
    together,
)
from ccenv.mask_table.entry import KIND, RESERVED, VERSION, check_name, of_rows
from ccenv.mask_table.table import SHIPPED, arrays_of, judging_table, shipped_table
from ccenv.simulator.simulator import Simulator

NUM_IMAGES = 50


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Of validation inputs, to learn from, and test inputs, which judge."""
    folder, found = tmp_path_factory.mktemp("tables"), []
    for split in ("validation", "test"):
        simulator = Simulator(1, dataset="probe", network="probe-residual", split=split)
        build(simulator.network, simulator.data, folder / split, limit=NUM_IMAGES)
        found.append(read_table(folder / split))
    return Task("probe", *found)


def same(form, array):
    """One policy for all cost weights."""
    return {weight: {form: array} for weight in COST_WEIGHTS}


class Answers:
    """A policy that gives one answer to everything."""

    def __init__(self, answer):
        self.answer = answer

    def act(self, look):
        return self.answer(len(look)) if callable(self.answer) else self.answer


def placed(task, answer):
    """The standing of a policy with one answer."""
    return Judge(task).standing(Candidate("mine", lambda table, weight: Answers(answer)))


def test_shares_are_those_of_rewards_that_are_known_exactly(task):
    outcomes, generator = task.judging.outcomes(), np.random.default_rng(0)
    linear = generator.normal(size=(task.judging.look.shape[1] + 1, 4))
    keep = 1 / (1 + np.exp(-(task.judging.look @ linear[:-1] + linear[-1])))
    learned = task.learning.outcomes()

    class Mine:
        def __init__(self, table, cost_weight):
            assert table.header is task.learning.header
            assert np.array_equal(table.right, task.learning.right)

        def act(self, look):
            return 1 / (1 + np.exp(-(look @ linear[:-1] + linear[-1])))

    found = Judge(task).standing(Candidate("mine", Mine))
    for part in found.parts:
        weight = part.cost_weight
        static = (learned.scores.mean(axis=0) - weight * learned.costs).argmax()
        floor = value(outcomes, weight, numbers=np.array([static])).mean()
        earned = value(outcomes, weight, keep=keep).mean()
        share = (earned - floor) / (optimum(outcomes, weight).values.mean() - floor)
        assert part.share == pytest.approx(share, abs=1e-5)
        assert 1 - part.error - weight * part.cost == pytest.approx(earned, abs=1e-5)
        assert part.standard_error > 0
    assert found.share == pytest.approx(np.mean([part.share for part in found.parts]))


def test_the_static_mask_closes_nothing_and_the_oracle_everything(task):
    by_name = {one.name: one for one in standings(task)}
    assert (by_name["oracle"].share, by_name["oracle"].rank) == (pytest.approx(1), None)
    assert (by_name["best static mask"].share, by_name["best static mask"].standard_error) == (0, 0)
    learned = task.learning.outcomes()

    class Static:
        def __init__(self, table, cost_weight):
            earned = learned.scores.mean(axis=0) - cost_weight * learned.costs
            self.mask = all_masks(table.header.menus)[earned.argmax()]

        def act(self, look):
            return np.tile(self.mask, (len(look), 1))

    mine = standings(task, [Candidate("mine", Static)])
    assert {one.rank for one in mine if one.share == 0} == {by_name["best static mask"].rank}
    assert [one.share for one in mine if one.name == "mine"] == [0]
    everything = placed(task, lambda n: np.ones((n, 4), np.int8))
    assert everything.share == pytest.approx(by_name["dense network"].share)


def test_coins_of_probability_0_and_1_are_masks(task):
    bits = np.array([True, False, True, True])
    sure = placed(task, lambda n: np.tile(bits.astype(float), (n, 1)))
    masks = placed(task, lambda n: np.tile(bits, (n, 1)))
    assert [vars(a) for a in sure.parts] == [pytest.approx(vars(b)) for b in masks.parts]


def test_a_policy_meets_the_inputs_in_another_order_than_the_tables(task):
    met = []
    placed(task, lambda n: met.append(n) or np.ones((n, 4), bool))

    class Remembers:
        def __init__(self, table, cost_weight):
            pass

        def act(self, look):
            met.append(look)
            best = optimum(task.judging.outcomes(), 0.3).numbers
            return all_masks(task.judging.header.menus)[best]

    cheat = Judge(task).standing(Candidate("cheat", Remembers))
    assert not np.array_equal(met[-1], task.judging.look)
    assert np.array_equal(np.sort(met[-1], axis=0), np.sort(task.judging.look, axis=0))
    assert cheat.share < 0.9


BROKEN = {
    "wrong shape": (lambda n: np.ones((n, 5), bool), r"keep probabilities \[50, 4\], got bool"),
    "one row": (lambda n: np.ones(4), r"got float64 \[4\]"),
    "NaN": (lambda n: np.full((n, 4), np.nan), "got nan"),
    "above 1": (lambda n: np.full((n, 4), 2), r"in \[0, 1\]"),
    "texts": (lambda n: np.full((n, 4), "x"), "expected act to answer bits"),
    "nothing": (None, "expected act to answer bits"),
    "an error": (lambda n: {}["labels"], r"KeyError: 'labels' \(test_challenge.py, line"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_policy_is_refused_in_one_line(name, task):
    answer, said = BROKEN[name]
    with pytest.raises(ValueError, match=said) as error:
        placed(task, answer)
    assert str(error.value).startswith("mine on probe: ")
    assert "\n" not in str(error.value)


class WantsLabels:
    def __init__(self, table, cost_weight):
        pass

    def act(self, look, labels):
        return labels


class WantsTestAnswers(WantsLabels):
    def act(self, look):
        return shipped_table("resnet20", "test").is_right()


class WantsNothing:
    def __init__(self, table, cost_weight):
        pass


class Ends(WantsLabels):
    def act(self, look):
        raise SystemExit(0)


class ChangesItsTable:
    def __init__(self, table, cost_weight):
        table.right[:] = 255


class ChangesLooks(WantsLabels):
    def act(self, look):
        look[:] = 0


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            WantsLabels,
            r"got act\(look, labels\): a policy sees the features offered .* never labels",
        ),
        (WantsTestAnswers, "test inputs judge the challenge, and no policy sees them"),
        (WantsNothing, r"expected an object with act\(look\)"),
        (Ends, r"SystemExit: 0 \(test_challenge.py, line"),
        (ChangesItsTable, "is read-only"),
        (ChangesLooks, "is read-only"),
        (dict, r"with __init__\(self, table, cost_weight\)"),
        (object, r"with __init__\(self, table, cost_weight\)"),
    ],
)
def test_a_policy_that_asks_for_more_than_looks_is_refused(kind, said, task):
    with pytest.raises(ValueError, match=said):
        standings(task, [Candidate("mine", kind)])


def test_whoever_changes_what_it_learns_from_changes_nothing_else(task):
    before = {name: array.copy() for name, array in arrays_of(task.learning).items()}

    class Unlocks:
        def __init__(self, table, cost_weight):
            for array in arrays_of(table).values():
                array.setflags(write=True)
                array[:] = 0

        def act(self, look):
            look.setflags(write=True)
            look[:] = 0
            return np.ones((len(look), 4), bool)

    judge = Judge(task)
    looks, found = judge.looks.copy(), judge.standing(Candidate("mine", Unlocks))
    assert found.share == placed(task, lambda n: np.ones((n, 4), bool)).share
    assert np.array_equal(judge.looks, looks)
    assert all(np.array_equal(arrays_of(task.learning)[name], before[name]) for name in before)


def test_more_than_all_of_the_gap_is_refused(task):
    judge = Judge(task)

    def free(look):
        judge.outcomes.costs[:] = 0
        return np.ones((len(look), 4), bool)

    entry = Candidate("mine", lambda table, weight: SimpleNamespace(act=free))
    with pytest.raises(ValueError, match="mine on probe: expected at most all of the oracle's gap"):
        judge.standing(entry)


@pytest.mark.parametrize("name", ["oracle", "best static mask", "linear, rloo", "Linear  RLOO"])
def test_no_entry_stands_under_the_name_of_another_row(name, task):
    entry = Candidate(name, lambda table, weight: Answers(lambda n: np.ones((n, 4), bool)))
    with pytest.raises(ValueError, match="expected another name than a baseline's or a recorded"):
        standings(task, [entry])


def test_files_hold_the_same_policies_as_classes(task, tmp_path):
    weights = task.judging.header.weights
    linear = np.random.default_rng(1).normal(size=(task.judging.look.shape[1] + 1, 4))
    write_entry(tmp_path / "line", "a line", weights, same("linear", linear))
    write_entry(tmp_path / "coin", "coins", weights, same("keep", np.full(4, 0.5)))
    found = standings(task, [candidate(str(tmp_path / name)) for name in ("line", "coin")])
    by_name = {one.name: one for one in found}
    assert by_name["coins"].share == pytest.approx(
        placed(task, lambda n: np.full((n, 4), 0.5)).share
    )
    assert {one.name for one in found if one.kind == "entry"} == {"a line", "coins"}
    shares = [one.share for one in found[1:]]
    assert shares == sorted(shares, reverse=True)
    other = dataclasses.replace(candidate(str(tmp_path / "coin")), weights="0" * 24)
    with pytest.raises(ValueError, match="coins: expected an entry for the network"):
        standings(task, [other])


def test_equal_shares_have_one_rank_and_bounds_have_none():
    def line(name, share, kind="entry"):
        return Standing(name, kind, share, 0.1, (AtWeight(0.1, share, 0.1, 0.5, 0.5),))

    found = ranked([line("a", 0.1), line("b", 0.2), line("c", 0.1), line("o", 1, "bound")])
    assert [(one.name, one.rank) for one in found] == [("o", None), ("b", 1), ("a", 2), ("c", 2)]
    both = together([found, ranked([line("b", -0.2), line("a", 0.1), line("only here", 3)])])
    assert [(one.name, one.rank) for one in both] == [("a", 1), ("b", 2)]
    assert both[0].standard_error == pytest.approx(0.1 / 2**0.5)


def test_a_task_needs_two_tables_of_one_network_and_other_inputs(task):
    with pytest.raises(ValueError, match="other inputs to choose by"):
        Task("x", task.judging, task.judging)
    with pytest.raises(ValueError, match="two tables of one network"):
        Task("x", shipped_table("resnet20"), task.judging)


def test_no_input_that_judges_is_one_to_learn_from():
    for name in SHIPPED:
        learning, judging = shipped_table(name), judging_table(name)
        assert (learning.header.split, judging.header.split) == ("validation", "test")
        assert learning.header.weights == judging.header.weights
        assert learning.header.data != judging.header.data
    with pytest.raises(ValueError, match="unknown table 'resnet2': did you mean 'resnet20'"):
        shipped_table("resnet2")


def test_every_table_of_the_package_has_recorded_policies_and_all_have_the_same():
    names = {
        name: {
            one.name
            for one in recorded_policies()
            if one.weights == shipped_table(name).header.weights
        }
        for name in SHIPPED
    }
    assert len({frozenset(found) for found in names.values()}) == 1
    assert len(names["resnet20"]) >= 4


def edited(path, **texts):
    """A well-formed file, checksum and all, that says something else."""
    tensors, said, _ = read_checked(path)
    write_checked(path, tensors, said | texts)


def test_forged_entries_are_refused_each_by_one_sentence(task, tmp_path):
    weights, coins = task.judging.header.weights, np.full(4, 0.5)
    texts = {"kind": KIND, "version": VERSION, "name": "x", "weights": weights}
    forged = {}

    def forge(said, policies=None):
        path = tmp_path / f"{len(forged)}.safetensors"
        write_entry(path, "x", weights, policies or same("keep", coins))
        forged[path] = said
        return path

    forge(r"keep probabilities \[50, 4\]", same("keep", np.full(5, 0.5)))
    forge(r"linear \[\d+, num_units\], got \[3, 4\]", same("linear", np.zeros((3, 4))))
    forge("finite floats in keep@0.1", same("keep", np.array([0.5, np.nan, 0, 1])))
    forge("finite floats in linear@0.1", same("linear", np.full((2, 4), np.inf)))
    forge("finite floats in keep@0.1, got int64", same("keep", np.ones(4, dtype=np.int64)))
    forge(r"in \[0, 1\], got -0.1", same("keep", coins - 0.6))
    forge("the same for all inputs", same("keep", np.full((NUM_IMAGES, 4), 0.5)))
    edited(forge("version 1, got '2'"), version="2")
    edited(forge("another kind of file"), hook="cos\nsystem\n(S'true'\ntR.")
    edited(forge("printed letters"), name="x\n# first")
    cut = forge("safetensors file")
    cut.write_bytes(cut.read_bytes()[:-9])
    changed = forge("damaged or edited")
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x01")
    forge("safetensors file").write_bytes(pickle.dumps({"keep": [0.5] * 4}))
    torch.save({"keep@0.1": torch.ones(4)}, forge("safetensors file"))
    bare = forge("checksum")
    save_file(load_file(bare), bare, metadata=texts)
    arrays = load_file(forge("no other arrays, got hook"))
    write_arrays(list(forged)[-1], arrays | {"hook": np.zeros(1)}, texts)
    answers = arrays | {"images": np.arange(NUM_IMAGES)}
    write_arrays(forge("answers for single inputs"), answers, texts)
    del arrays["keep@0.3"]
    write_arrays(forge("keep@0.3"), arrays, texts)
    forged[tmp_path / "none"] = "expected a file of"
    for path, said in forged.items():
        with pytest.raises(ValueError, match=said) as error:
            standings(task, [candidate(str(path))])
        assert "\n" not in str(error.value)


def test_an_entry_is_what_was_written(tmp_path):
    arrays = {weight: {"keep": np.full(3, weight / 2)} for weight in COST_WEIGHTS}
    write_entry(tmp_path / "mine", "my entry", "0" * 24, arrays)
    entry = read_entry(tmp_path / "mine")
    assert (entry.name, entry.weights) == ("my entry", "0" * 24)
    assert [entry.policies[w].array[0] for w in COST_WEIGHTS] == [w / 2 for w in COST_WEIGHTS]
    with pytest.raises(ValueError, match=r"expected one of linear@0\.1, keep@0\.1, got none"):
        write_entry(tmp_path / "half", "x", "0" * 24, {0.3: arrays[0.3], 1.0: arrays[1.0]})


LIKE_BASELINES = (
    "Oracle",
    "best  static-mask",
    "DENSE!",
    "0racle",
    "r\u00e1ndom",
    "\uff4f\uff52acle",
)


def test_names_are_printable_short_of_one_alphabet_and_no_baselines():
    for name in (*RESERVED, *LIKE_BASELINES):
        with pytest.raises(ValueError, match="another name than a baseline's"):
            check_name(name)
    for name in ("\u043eracle", "d\u0435nse", "a\u202eb", "x\x1b[2J", "", "x" * 61):
        with pytest.raises(ValueError, match="expected a name"):
            check_name(name)
    for name in ("linear, 2 layers", "my oracle's pupil", "\u043c\u0438\u0440", "<b>x</b>"):
        check_name(name)


FORMS = {"numbers": np.arange(4), "masks": np.eye(4), "keep": np.full((4, 2), 0.5)}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_is_read_with_a_checksum_or_without(name, tmp_path):
    for write in (write_policy, lambda path, **policy: save_file(policy, path)):
        write(tmp_path / "p", **{name: FORMS[name]})
        (found,) = read_policy(tmp_path / "p").values()
        assert np.array_equal(found, FORMS[name])


@pytest.mark.parametrize("content", [FORMS, {}, {"logits": np.zeros(3)}])
def test_all_but_one_known_form_is_refused(content, tmp_path):
    save_file(content, tmp_path / "p")
    with pytest.raises(ValueError, match="one of numbers, masks, keep"):
        read_policy(tmp_path / "p")
    with pytest.raises(ValueError, match="one of numbers, masks, keep"):
        write_policy(tmp_path / "p", **content)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "p").write_bytes(b"import os")
    with pytest.raises(DamagedFileError):
        read_policy(tmp_path / "p")


def test_rows_of_a_policy_are_those_of_its_inputs():
    rows = slice(1, None, 2)
    assert of_rows({"numbers": FORMS["numbers"]}, 4, rows)["numbers"].tolist() == [1, 3]
    assert len(of_rows({"keep": FORMS["keep"]}, 4, rows)["keep"]) == 2
    # One row for all, though it has as many numbers as there are inputs.
    assert len(of_rows({"masks": np.full(4, 0.25)}, 4, rows)["masks"]) == 4
