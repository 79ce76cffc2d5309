"""Laws of entries and policies as files: what they earn is exact, what is forged is refused."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from ccenv.base.checked_arrays import write_arrays
from ccenv.base.checked_file import DamagedFileError, read_checked, write_checked
from ccenv.mask_table import (
    PRICES,
    build,
    gradient,
    judge,
    optimum,
    read_policy,
    read_table,
    value,
    write_entry,
    write_policy,
)
from ccenv.mask_table.evaluation.entry import KIND, RESERVED, VERSION, check_name, of_rows
from ccenv.mask_table.leaderboard import ships
from ccenv.mask_table.shipped import shipped_table
from ccenv.simulator.simulator import Simulator

NUM_IMAGES = 50


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Of test images, which judge, and of validation images."""
    folder, found = tmp_path_factory.mktemp("tables"), []
    for split in ("test", "validation"):
        simulator = Simulator(1, dataset="probe", network="probe-residual", split=split)
        build(simulator.network, simulator.data, folder / split, limit=NUM_IMAGES)
        found.append(read_table(folder / split))
    return found


def same(form, array):
    """One policy for all prices."""
    return {price: {form: array} for price in PRICES}


def test_entries_are_ranked_by_exact_regret_and_answers_are_told_from_functions(tables, tmp_path):
    test, weights = tables[0], tables[0].header.weights
    outcomes, generator = test.outcomes(), np.random.default_rng(0)
    linear = generator.normal(size=(test.look.shape[1] + 1, 4))
    best = {price: {"numbers": optimum(outcomes, price).numbers} for price in PRICES}
    write_entry(tmp_path / "best", "looked up", weights, best, np.arange(NUM_IMAGES))
    write_entry(tmp_path / "line", "a line", weights, same("linear", linear))
    write_entry(tmp_path / "none", "nothing", weights, same("numbers", np.array([0])))
    half = np.full(16, 1 / 16, dtype=np.float32)
    write_entry(tmp_path / "half", "any mask", weights, same("masks", half))
    write_entry(tmp_path / "coin", "coins", weights, same("keep", np.full((1, 4), 0.5)))
    names = ("best", "line", "none", "half", "coin")
    standings, refused = judge([tmp_path / name for name in names], *tables)
    assert not refused
    by_name = {one.name: one for one in standings}
    *functions, last = standings
    assert [one.regret for one in functions] == sorted(one.regret for one in functions)
    assert [one.rank for one in functions if one.kind == "function"] == [1, 2, 3, 4]
    assert last.name == "looked up"
    assert last.rank is None
    assert last.regret == pytest.approx(0)
    kinds = {name: one.kind for name, one in by_name.items()}
    assert kinds["looked up"] == "answers"
    assert kinds["best static mask"] == "rival"
    assert set(kinds.values()) - {"answers", "rival"} == {"function"}
    for first, other in zip(by_name["any mask"].at, by_name["coins"].at, strict=True):
        assert first.regret == pytest.approx(other.regret)
    keep = 1 / (1 + np.exp(-(test.look @ linear[:-1] + linear[-1])))
    for at in by_name["a line"].at:
        earned = value(outcomes, at.price, keep=keep)
        assert at.regret == pytest.approx((optimum(outcomes, at.price).values - earned).mean())
        assert 1 - at.error - at.price * at.cost == pytest.approx(earned.mean())


def edited(path, **texts):
    """A well-formed file, checksum and all, that says something else."""
    tensors, said, _ = read_checked(path)
    write_checked(path, tensors, said | texts)


def test_forged_entries_are_refused_each_by_one_sentence(tables, tmp_path):
    weights, coins = tables[0].header.weights, np.full(4, 0.5)
    images, numbers = np.arange(NUM_IMAGES), np.zeros(NUM_IMAGES, dtype=np.int64)
    texts = {"kind": KIND, "version": VERSION, "name": "x", "weights": weights}
    forged = {}

    def forge(said, policies=None, images=None, weights=weights):
        path = tmp_path / f"{len(forged)}.safetensors"
        write_entry(path, "x", weights, policies or same("keep", coins), images)
        forged[path] = said
        return path

    forge(r"keep probabilities \[50, 4\]", same("keep", np.full(5, 0.5)))
    forge(r"linear \[\d+, 4\], got \[3, 4\]", same("linear", np.zeros((3, 4))))
    forge("entry for the network", weights="0" * 24)
    forge("in keep, got NaN", same("keep", np.array([0.5, np.nan, 0, 1])))
    forge("in linear, got NaN", same("linear", np.full((2, 4), np.inf)))
    forge(r"masks 0\.\.15, got 0\.\.16", same("numbers", numbers + images % 17), images)
    forge(r"in \[0, 1\], got -0.1", same("keep", coins - 0.6))
    forge("sum to 1", same("masks", np.full(16, 0.5)))
    forge("one twice or out of order", same("numbers", numbers), images[::-1])
    forge("one twice or out of order", same("numbers", numbers), np.maximum(images, 1))
    forge("all images", same("numbers", numbers), images + 1)
    forge("images beside numbers", same("numbers", numbers))
    forge("int numbers", same("numbers", numbers + 0.5), images)
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
    del arrays["keep@0.3"]
    write_arrays(forge("keep@0.3"), arrays, texts)
    forged[tmp_path / "none"] = "No such file"
    standings, refused = judge(list(forged), *tables)
    assert [one.kind for one in standings] == ["rival"]
    assert [one.file for one in refused] == [path.name for path in forged]
    for one, said in zip(refused, forged.values(), strict=True):
        with pytest.raises(ValueError, match=said):
            raise ValueError(one.why)
        assert "\n" not in one.why


def test_a_function_has_no_rank_on_inputs_that_ship_whatever_their_table_is_called(tmp_path):
    both = (shipped_table("resnet20", split) for split in ("test", "validation"))
    test, validation = (table.first(500) for table in both)
    outcomes, seen = test.outcomes(), test.look.astype(np.float64)
    seen = np.concatenate([seen, np.ones((len(seen), 1))], axis=1)
    policies = {}
    for price in PRICES:
        # Fitted to the very images that judge.
        linear = np.zeros((seen.shape[1], test.header.num_units))
        for _ in range(3):
            keep = 1 / (1 + np.exp(-seen @ linear))
            slopes = gradient(outcomes, price, keep, of="logits")
            linear += 10 * seen.T @ slopes / len(seen)
        policies[price] = {"linear": linear}
    write_entry(tmp_path / "mine", "mine", test.header.weights, policies)
    (first, mine), _ = judge([tmp_path / "mine"], test, validation)
    assert (first.kind, first.rank) == ("rival", None)
    assert (mine.kind, mine.rank) == ("open function", None)
    look = test.look.astype(np.float32)
    exact = look * (1 + 1e-5)
    assert ships(dataclasses.replace(test, look=exact))
    assert ships(test.first(100))
    others = dataclasses.replace(test, look=look + 0.05)
    assert not ships(others)
    standings, _ = judge([tmp_path / "mine"], others, validation)
    (mine,) = (one for one in standings if one.name == "mine")
    assert (mine.kind, mine.rank) == ("function", 1)


LIKE_BASELINES = (
    "Oracle",
    "best  static-mask",
    "DENSE!",
    "0racle",
    "r\u00e1ndom",
    "\uff4f\uff52acle",
)


@pytest.mark.parametrize("name", [*RESERVED, *LIKE_BASELINES])
def test_no_entry_has_a_baselines_name(name):
    with pytest.raises(ValueError, match="another name than a baseline's"):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["\u043eracle", "d\u0435nse", "a\u202eb", "x\x1b[2J", "", "x" * 61]
)
def test_a_name_is_printable_short_and_of_one_alphabet(name):
    with pytest.raises(ValueError, match="expected a name"):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["linear, 2 layers", "my oracle's pupil", "\u043c\u0438\u0440", "<b>x</b>"]
)
def test_other_names_are_taken(name):
    check_name(name)


FORMS = {"numbers": np.arange(4), "masks": np.eye(4), "keep": np.full((4, 2), 0.5)}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_is_read(name, tmp_path):
    write_policy(tmp_path / "p", **{name: FORMS[name]})
    (found,) = read_policy(tmp_path / "p").values()
    assert np.array_equal(found, FORMS[name])


def test_a_file_without_a_checksum_is_a_policy_too(tmp_path):
    save_file({"keep": FORMS["keep"]}, tmp_path / "p")
    assert np.array_equal(read_policy(tmp_path / "p")["keep"], FORMS["keep"])


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
