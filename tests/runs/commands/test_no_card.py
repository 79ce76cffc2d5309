"""Without a card `device=cuda` is refused in one line with exit code 2, and leaves nothing."""

import json

import pytest
import torch

import ccenv
from ccenv.runs.commands import compare, train
from ccenv.runs.commands import eval as judge
from ccenv.runs.store.seal import SEAL, sealed
from ccenv.tasks.probe import PROBE_SETTINGS

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
REFUSED = "expected device to be 'cpu' or a CUDA device that is here, got "
SETTINGS = PROBE_SETTINGS | {"images": 64, "batch_size": 64}
SWEEP = """
description = "A card."
minutes = 0.1
seeds = [0]
settings = { dataset = "probe", network = "probe", images = 64, batch_size = 64, device = "cuda" }
rows = [{ agent = "reinforce" }, { agent = "dense" }]
"""


def refused(program, arguments, folder, capsys):
    """The last line of a program that must not start, in a folder that must stay."""
    before = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
    assert program(arguments) == 2
    assert {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")} == before
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_train_leaves_no_folder(device, tmp_path, capsys):
    words = [f"{name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    words += [f"device={device}", f"log_dir={tmp_path / 'logs'}", "dtype=bfloat16"]
    (line,) = refused(train.main, ["reinforce", *words], tmp_path, capsys)
    assert line.startswith(f"ccenv train: {REFUSED}{device!r}")


@pytest.mark.parametrize("jobs", [1, 2])
def test_compare_runs_no_row(jobs, tmp_path, capsys):
    (tmp_path / "card.toml").write_text(SWEEP)
    folders = [f"--{kind}-dir={tmp_path / kind}" for kind in ("log", "report", "results")]
    asked = [str(tmp_path / "card.toml"), f"--jobs={jobs}", *folders]
    *_, line = refused(compare.main, asked, tmp_path, capsys)
    assert line.startswith(f"ccenv compare: {REFUSED}'cuda'")


def test_eval_of_a_run_from_a_machine_with_a_card_leaves_the_run(tmp_path, capsys):
    ccenv.train("reinforce", log_dir=str(tmp_path), **SETTINGS)
    files = [*tmp_path.rglob("config.json"), *tmp_path.rglob("result.json")]
    for file in files:
        content = json.loads(file.read_text())
        content.get("settings", content)["environment"]["device"] = "cuda"
        file.write_text(json.dumps(sealed(content) if SEAL in content else content))
    capsys.readouterr()
    (line,) = refused(judge.main, [str(files[0].parent)], tmp_path, capsys)
    assert line.startswith(f"ccenv eval: {REFUSED}'cuda'")
