"""Bits of texts beside errors: in what a run prints, and in tables."""

import dataclasses
import math

import pytest

from ccenv.runs.commands import train
from ccenv.runs.engine import run
from ccenv.runs.stats.measures import bits_in, bits_of
from ccenv.runs.stats.rows import make_rows
from ccenv.runs.tables.sweep_table import COLUMNS, columns_and_lines, notes, table

SETTINGS = {"images": 64, "batch_size": 16, "weights": "cotrain", "eval_every": 64}
TEXT = {"dataset": "book", "network": "bytes", "network_kwargs": {"num_blocks": 4, "block_size": 4}}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of a text and of images."""
    root = tmp_path_factory.mktemp("data")
    (root / "book.txt").write_bytes(b"the cat sat on the mat. " * 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCENV_DATA", str(root))
        patch.setattr(run, "latencies", lambda env, agent: [])
        given = SETTINGS | {"log_dir": str(root / "logs")}
        text = [train.train("hash", **given, **TEXT, seed=seed) for seed in (0, 1)]
        images = train.train("dense", **given, dataset="digits", num_blocks=[4])
    return {"text": text, "images": [images]}


def test_a_run_on_a_text_says_its_bits_and_one_on_images_does_not(results):
    result = results["text"][0]
    sampled, likeliest = (e["nll"] / math.log(2) for e in result["evaluations"][:2])
    line = f"test bits a symbol (nll / ln 2): {sampled:.4f}, {likeliest:.4f}"
    assert line in train.summary(result).splitlines()
    assert "bits" not in train.summary(results["images"][0])


def test_a_table_of_a_text_has_bits_and_says_what_they_are(results):
    text, images = rows = [dataclasses.asdict(row) for row in make_rows(results)]
    columns, lines = columns_and_lines([text])
    place = list(columns).index("test bits")
    nlls = [r["evaluations"][0]["nll"] for r in results["text"]]
    assert lines[0][place].mean == pytest.approx(sum(nlls) / 2 / math.log(2))
    assert columns_and_lines([images])[0] == COLUMNS
    assert "Bits: nll over ln 2" in notes([text])
    assert "Bits: nll" not in notes([images])
    assert table(rows).count("test bits") == 1


def test_results_from_before_texts_have_no_bits(results):
    old = {k: v for k, v in results["text"][0].items() if k != "of_symbols"}
    assert bits_in(old, old["evaluations"][0]) is None
    assert make_rows({"old": [old]})[0].bits is None


def test_guessing_among_equals_costs_the_logarithm_of_their_number():
    assert bits_of(math.log(128)) == pytest.approx(7)
