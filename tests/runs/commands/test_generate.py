"""Paragraphs by exported predictors of text."""

import re
import shutil
from pathlib import Path

import pytest

import ccenv
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.deploy.generate import write
from ccenv.base.seeding import stream
from ccenv.runs.commands import cli
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine import run
from ccenv.runs.engine.prepare import Options
from ccenv.runs.replay.verdicts import validate

BOOK = b"abcdefgh\n" * 200
SETTINGS = {
    "dataset": "book",
    "network": "bytes",
    "network_kwargs": {"num_blocks": 4, "block_size": 8},
    "weights": "cotrain",
    "weights_kwargs": {"learning_rate": 0.04},
    "images": 8_000,
    "batch_size": 64,
    "eval_every": 8_000,
    "observation": "symbols",
    "embedding_size": 4,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a run on a text that repeats itself."""
    root = tmp_path_factory.mktemp("data")
    (root / "book.txt").write_bytes(BOOK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCENV_DATA", str(root))
        plan = make_plan("rloo", SETTINGS | {"log_dir": str(root / "logs")})
        yield run.run(plan, options=Options(export=True))["folder"]


def test_what_was_learned_is_written_and_the_same_seed_writes_the_same(folder, capsys):
    words = ["generate", folder, "--start", "abc", "--length", "30", "--temperature", "0.1"]
    said, last = [], []
    for _ in range(2):
        assert cli.main(words) == 0
        *lines, end = capsys.readouterr().out.splitlines()
        said.append(lines)
        last.append(end)
    assert said[0] == said[1]
    assert said[0][:3] == ["abcdefgh"] * 3
    pattern = r"\(50\.0% of the blocks were computed; [\d,]+ symbols a second\)"
    assert all(re.fullmatch(pattern, line) for line in last)


def test_a_network_of_sequences_writes_behind_a_single_symbol(folder, tmp_path, capsys):
    sizes = {"width": 8, "num_heads": 2, "ffn_width": 4, "num_experts": 2, "gates": ["heads"]}
    settings = SETTINGS | {
        "dataset": "book@6", "network": "lm", "network_kwargs": sizes, "images": 60,
        "batch_size": 60, "eval_every": 60, "log_dir": str(tmp_path), "sampling": "independent",
    }  # fmt: skip
    made = run.run(make_plan("rloo", settings), options=Options(export=True))["folder"]
    words = ["--start", "a", "--length", "20", "--temperature", "0"]
    assert cli.main(["generate", str(made), *words]) == 0
    said = capsys.readouterr().out
    assert said.startswith("a")
    assert "symbols a second" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--length", "0"], "expected a length of at least 1"),
        (["--temperature", "-1"], "temperature of at least 0"),
        (["--temperature", "inf"], "temperature of at least 0"),
        (["--dataset", "bok"], "expected the name of a text"),
    ],
)
def test_a_wrong_word_is_answered_in_a_line(folder, words, message, capsys):
    assert cli.main(["generate", folder, *words]) == 2
    assert message in capsys.readouterr().err


def test_what_was_not_exported_or_reads_no_text_is_refused(folder, tmp_path, capsys):
    assert cli.main(["generate", str(tmp_path)]) == 2
    assert "train with --export" in capsys.readouterr().err
    given = {"images": 64, "num_blocks": [4], "log_dir": str(tmp_path), "weights": "cotrain"}
    made = ccenv.train("dense", export=True, **given)
    classifier = SkippingClassifier.load(made.folder / "checkpoint" / "classifier.safetensors")
    with pytest.raises(ValueError, match="expected a predictor of symbols"):
        write(classifier, [0] * 64, 5, stream(0, "test"))


@pytest.mark.parametrize("content", ["{}", "[]", "", '{"environment": {"dataset": 3}}'])
def test_settings_without_a_data_set_are_refused_in_a_line(content, folder, tmp_path, capsys):
    (tmp_path / "checkpoint").mkdir()
    name = "checkpoint/classifier.safetensors"
    shutil.copyfile(Path(folder) / name, tmp_path / name)
    (tmp_path / "config.json").write_text(content)
    assert cli.main(["generate", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "config.json" in said
    assert len(said.splitlines()) == 1
    assert cli.main(["generate", str(tmp_path), "--dataset", "book", "--length", "3"]) == 0


def test_a_run_on_a_text_is_judged_again_from_its_folder(folder):
    found = validate(Path(folder))
    assert [row.problems for row in found] == [(), ()]
