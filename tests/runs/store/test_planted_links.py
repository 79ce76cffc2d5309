"""Laws of links in a folder from somebody else: no command writes through one."""

import contextlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from ccenv.annexes.deploy import onnx_file
from ccenv.annexes.deploy.onnx_file import Agreement
from ccenv.base.files import replaced_when_whole, write_whole
from ccenv.runs.commands import export, inspect, train
from ccenv.runs.engine import onnx_export
from ccenv.runs.engine.collect_runs import gather_folders
from ccenv.runs.report import over_seeds

SETTINGS = ("weights=cotrain", "images=64", "batch_size=32")
FOLDERS, FILES = set(), set()
EVENTS = {"open": (0, FILES), "os.rename": (1, FILES), "os.mkdir": (0, FOLDERS)}


def note(event, arguments):
    """Notes what Python opens to write, renames to and makes."""
    if event in EVENTS and (event != "open" or arguments[2] & os.O_ACCMODE):
        place, names = EVENTS[event]
        names.add(str(arguments[place]))


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A log folder with a run."""
    place = tmp_path_factory.mktemp("stranger") / "logs"
    assert trained(place) == 0
    sys.addaudithook(note)
    yield place
    EVENTS.clear()


def run_in(logs):
    """The folder of the run."""
    (run,) = logs.glob("*/reinforce/*/*/seed-0")
    return run


def trained(logs):
    return train.main(
        ["reinforce", "--export", "--anew", "--checkpoint-every=32", *SETTINGS, f"log_dir={logs}"]
    )


def inspected(logs):
    return inspect.main([str(run_in(logs))])


def averaged(logs):
    over_seeds.write_sweep(gather_folders([logs], "own"), str(logs))
    return 0


def as_onnx(logs):
    """With a program in place of torch's exporter, which takes a library and seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (onnx_file, onnx_export):
            patch.setattr(module, "check_installed", lambda: None)
        patch.setattr(onnx_file, "as_program", lambda form: Program())
        patch.setattr(onnx_export, "Session", lambda path: None)
        patch.setattr(onnx_export, "agreement", lambda *given: Agreement(1, 0.0, 1.0, 1.0, 1.0))
        return export.main(["--onnx", str(run_in(logs))])


class Program:
    def save(self, path):
        Path(path).write_bytes(b"graph")


def written_by(command, logs):
    """Names below `logs` that a command makes as folders, opens to write, or renames to."""
    there = {str(run_in(logs)), *map(str, run_in(logs).parents)}
    FOLDERS.clear()
    FILES.clear()
    assert command(logs) == 0
    return [
        [Path(name).relative_to(logs) for name in sorted(names) if Path(name).is_relative_to(logs)]
        for names in (FOLDERS - there, FILES - there)
    ]


def content(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("command", [trained, inspected, averaged, as_onnx])
def test_no_command_writes_through_a_link(command, logs, tmp_path):
    folders, files = written_by(command, shutil.copytree(logs, tmp_path / "clean"))
    assert folders or files
    for number, name in enumerate((*folders, *files)):
        place, outside = tmp_path / f"{number}", tmp_path / f"{number}-outside"
        shutil.copytree(logs, place)
        planted, victim = place / name, outside / "victim"
        outside.mkdir()
        if planted.exists():
            planted.rename(victim)
        elif name in folders:
            victim.mkdir()
        else:
            victim.write_text("private")
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.symlink_to(victim)
        before = content(outside)
        with contextlib.suppress(ValueError):
            assert command(place) in (0, 2), name
        assert content(outside) == before, name


def test_a_run_whose_checkpoint_is_a_link_is_refused_in_a_line(logs, tmp_path, capsys):
    place = shutil.copytree(logs, tmp_path / "logs")
    checkpoint = run_in(place) / "checkpoint"
    checkpoint.rename(tmp_path / "elsewhere")
    checkpoint.symlink_to(tmp_path / "elsewhere")
    capsys.readouterr()
    assert trained(place) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"expected no link in a folder that is written in, got {checkpoint}" in line


def test_a_file_is_replaced_whole_under_a_new_name_each_time_or_stays(tmp_path):
    path, victim, names = tmp_path / "file", tmp_path / "victim", []
    victim.write_text("private")
    path.symlink_to(victim)
    for number in range(2):
        with replaced_when_whole(path) as partial:
            names.append(partial)
            partial.write_text(f"{number}")
    assert len(set(names)) == 2
    assert path.read_text() == "1"
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert {one.name for one in tmp_path.iterdir()} == {"file", "victim"}
    assert victim.read_text() == "private"
