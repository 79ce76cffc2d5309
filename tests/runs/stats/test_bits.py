"""Bits of texts beside errors: in what a run prints, and in tables."""

import dataclasses
import math
import re

import pytest
from made_results import result, whole_result

from ccenv.runs.api import Run
from ccenv.runs.engine.jobs import make_jobs
from ccenv.runs.stats.measures import bits_in
from ccenv.runs.stats.rows import make_rows
from ccenv.runs.sweeps import Cell, Sweep
from ccenv.runs.tables.sweep_table import notes, table


@pytest.fixture(scope="module")
def results():
    """Of a text and of images."""
    cells = (Cell("text", "hash", {"dataset": "python_sample"}), Cell("images", "dense"))
    made = {"text": [], "images": []}
    for job in make_jobs(Sweep("s", "d", cells, 1.0, seeds=(0, 1)), "unused"):
        own = whole_result(job)
        own["evaluations"][0]["nll"] = 1.0 + job.plan.program.seed
        made[job.label].append(own | {"of_symbols": job.label == "text"})
    return made


def test_a_run_on_a_text_says_its_bits_and_one_on_images_does_not():
    found = result("hash", 0, 100, 0.1, of_symbols=True, folder="folder")
    line = f"test bits a symbol (nll / ln 2): {1 / math.log(2):.4f}, {1 / math.log(2):.4f}"
    assert line in Run(found).summary.splitlines()
    assert "bits" not in Run(found | {"of_symbols": False}).summary


def test_a_table_of_a_text_has_bits_and_says_what_they_are(results):
    text, images = rows = [dataclasses.asdict(row) for row in make_rows(results)]
    (shown,) = re.findall(r"test bits .*\n.*\n.*", table([text]))
    assert f"{1.5 / math.log(2):.3f} ± " in shown
    assert "test bits" not in table([images])
    assert "Bits: nll over ln 2" in notes([text])
    assert "Bits: nll" not in notes([images])
    assert table(rows).count("test bits") == 1


def test_results_from_before_texts_have_no_bits(results):
    old = {k: v for k, v in results["text"][0].items() if k != "of_symbols"}
    assert bits_in(old, old["evaluations"][0]) is None
    assert make_rows({"old": [old, results["text"][1]]})[0].bits is None
