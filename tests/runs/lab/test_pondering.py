"""Laws of the study of pondering: kinds part the inputs, and rows are recorded, shown and drawn."""

import json

import pytest
import torch

from ccenv.data import load_split
from ccenv.runs.experiment import run_experiment
from ccenv.runs.lab import pondering
from ccenv.runs.store.seal import check_seal


@pytest.mark.parametrize(
    ("name", "fewest", "most"), [("parity", 1, 6), ("addition", 1, 5), ("sorting", 2, 15)]
)
def test_kinds_of_a_task_are_how_much_there_is_of_it(name, fewest, most):
    inputs, _ = load_split(name, "test").batch(torch.arange(500))
    names, kinds = pondering.KINDS[name](inputs)
    assert names == [str(number) for number in range(fewest, most + 1)]
    assert kinds.unique().tolist() == list(range(len(names)))
    # A number that is not there is written as zeros.
    first = inputs[kinds == 0]
    assert (first == 0).float().mean() > (inputs == 0).float().mean()


def test_kinds_of_a_text_are_those_of_its_last_symbol():
    split = load_split("python_bundled", "test")
    inputs, _ = split.batch(torch.arange(3000))
    names, kinds = pondering.by_letter(inputs)
    letters = split.letters
    for name, kind in zip(names, range(len(names)), strict=True):
        seen = {chr(letters[symbol]) for symbol in inputs[kinds == kind, -1].tolist()}
        assert seen <= set(pondering.LETTERS.get(name, seen)), name
    assert {names[kind] for kind in kinds.unique().tolist()} >= {"space", "newline", "letter"}


def test_steps_are_recorded_shown_and_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pondering, "JUDGED", 200)
    folders = [f"--{kind}-dir={tmp_path}" for kind in ("results", "report")]
    words = ["--tasks", "parity", "--images", "512", "--record", *folders]
    assert run_experiment(pondering.PONDERING, "lab", words) == 0
    content = json.loads((tmp_path / "pondering.json").read_text())
    check_seal(content, "pondering")
    whole, *kinds = content["rows"]
    assert whole["inputs"] == 200 == sum(row["inputs"] for row in kinds)
    mean = sum(row["steps"] * row["inputs"] for row in kinds) / 200
    assert mean == pytest.approx(whole["steps"], rel=1e-3)
    assert 1 <= whole["steps"] <= 8
    assert (tmp_path / "pondering.png").read_bytes()[1:4] == b"PNG"
