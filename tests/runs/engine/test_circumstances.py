"""Laws of odd circumstances of a run."""

import contextlib
import io
import json
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ccenv.base.machine import user_cache
from ccenv.runs.commands.frame import program
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine import checkpoint, listener, run
from ccenv.tasks.probe import PROBE_SETTINGS

BATCH = 64
SHORT = PROBE_SETTINGS | {"images": 6 * BATCH, "batch_size": BATCH, "eval_every": 2 * BATCH}
SHORT |= {"progress": False, "latency": False}


class StoppedError(BaseException):
    """What stops a run in a test."""


def carry_out(logs, stop=None):
    """Runs a plan with a checkpoint an update; stops it before so many images are kept."""
    original = listener.Listener.__call__

    def call(self, images_seen, scalars):
        if images_seen == stop:
            raise StoppedError
        original(self, images_seen, scalars)

    plan = make_plan("reinforce", SHORT | {"log_dir": str(logs)})
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(StoppedError):
        patch.setattr(listener.Listener, "__call__", call)
        run.run(plan, options=run.Options(checkpoint_every=BATCH))
    return plan.folder()


def left(folder, logs):
    """Numbers, weights, masks and points of all curves, without what a clock says."""
    result = json.loads((folder / "result.json").read_text())
    numbers = {name: result[name] for name in ("evaluations", "curve", "block_use", "images_seen")}
    for path in (folder / "checkpoint").glob("*.safetensors"):
        numbers |= {f"{path.name} {k}": v.tolist() for k, v in load_file(path).items()}
    (curves,) = {path.parent for path in logs.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(curves), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("time/")]
    return numbers | {tag: sorted((p.step, p.value) for p in events.Scalars(tag)) for tag in tags}


def test_a_cut_event_file_costs_what_came_after_the_checkpoint_before(
    tmp_path, monkeypatch, capsys
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = left(carry_out(whole), whole)
    folder = carry_out(cut, stop=5 * BATCH)
    assert not (folder / "result.json").exists()
    sizes = checkpoint.load_tree(checkpoint.checkpoint_path(folder))["curves"]["tracker"]["sizes"]
    ((name, size),) = sizes.items()
    (events,) = cut.rglob(Path(name).name)
    with events.open("r+b") as file:
        file.truncate(size - 7)
    # A clock that was set back meanwhile: nothing that is compared comes from it.
    set_back = time.time
    monkeypatch.setattr(time, "time", lambda: set_back() - 3600)
    carry_out(cut)
    said = capsys.readouterr().err
    assert "it was cut" in said
    assert f"goes on after {3 * BATCH} of" in said
    found = left(folder, cut)
    assert found.keys() == expected.keys()
    assert not [name for name in found if found[name] != expected[name]]


def test_a_user_without_a_home_is_told_of_the_cache(monkeypatch):
    for name in ("CCENV_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.expanduser", unknown)
    with pytest.raises(FileNotFoundError, match="give a folder that can be written in as CCENV_C"):
        user_cache()


def test_a_terminal_of_ascii_gets_a_question_mark(monkeypatch):
    @program("say")
    def main(arguments=None):
        print("mean ± deviation")
        return 0

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main([]) == 0
    assert out.buffer.getvalue() == b"mean ? deviation\n"
