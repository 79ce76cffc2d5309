"""Laws of odd circumstances of a run."""

import io
import sys
import time
from pathlib import Path

import pytest
from left_by_runs import apart, left

from ccenv.base.machine import user_cache
from ccenv.runs.commands.frame import program
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine import checkpoint, listener, run
from ccenv.tasks.probe import PROBE_SETTINGS

BATCH = 64
SHORT = PROBE_SETTINGS | {"images": 6 * BATCH, "batch_size": BATCH, "eval_every": 2 * BATCH}


class StoppedError(BaseException):
    """What stops a run in a test."""


def carry_out(place, stop=None):
    """Runs a plan with a checkpoint an update; stops it before so many images are kept."""
    original = listener.Listener.__call__

    def call(self, images_seen, scalars):
        if images_seen == stop:
            raise StoppedError
        original(self, images_seen, scalars)

    plan = make_plan("reinforce", SHORT | {"log_dir": str(place), "progress": False})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener.Listener, "__call__", call)
        patch.setattr(run, "latencies", lambda env, agent: [])
        if stop is None:
            run.run(plan, options=run.Options(checkpoint_every=BATCH))
        else:
            with pytest.raises(StoppedError):
                run.run(plan, options=run.Options(checkpoint_every=BATCH))
    return plan.folder()


def test_a_cut_event_file_costs_what_came_after_the_checkpoint_before(
    tmp_path, monkeypatch, capsys
):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    carry_out("logs")
    monkeypatch.chdir(tmp_path / "cut")
    folder = carry_out("logs", stop=5 * BATCH)
    sizes = checkpoint.load_tree(checkpoint.checkpoint_path(folder))["curves"]["tracker"]["sizes"]
    ((name, size),) = sizes.items()
    (events,) = Path("logs").rglob(Path(name).name)
    with events.open("r+b") as file:
        file.truncate(size - 7)
    # A clock that was set back meanwhile: nothing that is compared comes from it.
    set_back = time.time
    monkeypatch.setattr(time, "time", lambda: set_back() - 3600)
    carry_out("logs")
    said = capsys.readouterr().err
    assert "it was cut" in said
    assert f"goes on after {3 * BATCH} of" in said
    whole, cut = (left(tmp_path / name / "logs") for name in ("whole", "cut"))
    curves = [{n: sorted(v) for n, v in one.items() if " curve " in n} for one in (whole, cut)]
    assert curves[0] == curves[1]
    assert not [name for name in apart(whole, cut) if " curve " not in name]


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
