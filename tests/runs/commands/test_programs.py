"""Laws of the frame around every program: what stops it is told in one line."""

import ast
import contextlib
import errno
import io
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError
from test_architecture import MODULES, tree_of

from ccenv.agents.reinforce import Reinforce
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.runs.commands import frame as programs
from ccenv.runs.commands import train
from ccenv.runs.commands.cli import COMMANDS
from ccenv.runs.engine.listener import TIMED

ROOT = Path(__file__).parents[3]
FRAMED = [*COMMANDS, "cli"]


def framed(error, **frame):
    @programs.program("ccenv.runs.toy", **frame)
    def main(arguments=None):
        raise error

    return main


def pairs_of(settings):
    """Settings as words of the command line."""
    return [f"{name}={value}".replace(" ", "") for name, value in settings.items()]


def test_of_the_users_code_an_error_shows_the_place_alone(capsys, tmp_path):
    assert framed(KeyError("mine"))([]) == 2
    assert capsys.readouterr().err == (
        "ccenv.runs.toy: your code failed\n"
        f'  File "{__file__}", line {framed.__code__.co_firstlineno + 3}, in main\n'
        "    raise error\nKeyError: 'mine'\n"
    )
    (tmp_path / "slip.py").write_text("class Mine:\n    x = (\n")
    sys.path.insert(0, str(tmp_path))
    try:
        assert train.main(["slip:Mine", f"log_dir={tmp_path}"]) == 2
    finally:
        sys.path.remove(str(tmp_path))
    place, *_, last = capsys.readouterr().err.splitlines()[1:]
    assert place == f'  File "{tmp_path}/slip.py", line 2'
    assert last == "SyntaxError: '(' was never closed"


def test_a_run_of_more_than_an_hour_says_so_after_a_few_updates(tmp_path, monkeypatch, capsys):
    updates, update = itertools.count(), Reinforce.update

    def stopping(agent, rollout):
        if next(updates) == TIMED:
            raise KeyboardInterrupt
        return update(agent, rollout)

    monkeypatch.setattr(Reinforce, "update", stopping)
    words = pairs_of(PROBE_SETTINGS | {"images": 10**15, "log_dir": tmp_path})
    assert train.main(["reinforce", *words]) == programs.INTERRUPTED
    assert re.match(r"runs: reinforce learns for about \d[\d,.]+ hours\n", capsys.readouterr().err)


def test_what_a_program_refuses_is_one_line_and_a_bug_is_a_traceback(capsys):
    assert framed(ValueError("expected 1, got 2"))([]) == 2
    assert capsys.readouterr().err == "ccenv.runs.toy: expected 1, got 2\n"
    ours = eval("lambda arguments: {}['a bug']", {"__name__": "ccenv.runs.toy"})
    with pytest.raises(KeyError):
        programs.program("ccenv.runs.toy")(ours)([])


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "expected room to write, got a full disk"),
        (errno.EDQUOT, "expected room to write, got a full disk"),
        (errno.EFBIG, "raise the limit (ulimit -f)"),
        (errno.EACCES, "name another folder"),
        (errno.EROFS, "name another folder"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_an_error_of_the_disk_says_what_to_do(number, hint, capsys):
    assert framed(OSError(number, os.strerror(number), "file"))([]) == 2
    said = capsys.readouterr().err
    assert hint in said
    assert "file" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "got a full disk"), (errno.EFBIG, "raise the limit (ulimit -f)")],
)
def test_a_full_disk_and_a_limit_of_sizes_are_told_once_whoever_writes(number, hint, capsys):
    def write():
        raise OSError(number, os.strerror(number))

    @programs.program("ccenv.runs.toy")
    def main(arguments=None):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        raise SafetensorError(f"I/O error: {os.strerror(number)} (os error {number})")

    assert main([]) == 2
    said = capsys.readouterr().err
    assert hint in said
    assert said.count("\n") == 1


def test_a_cache_that_cannot_be_written_in_is_told_in_a_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path / "file" / "cache"))
    assert train.main(["dense", "images=64", f"log_dir={tmp_path / 'logs'}"]) == 2
    assert "CCENV_CACHE" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_limit_of_the_shell_on_sizes_ends_a_run_in_one_line(tmp_path, capsys):
    import resource

    pairs = pairs_of({**PROBE_SETTINGS, "images": 64, "batch_size": 64, "log_dir": str(tmp_path)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
    try:
        assert train.main(["dense", *pairs, "progress=false"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = [line for line in capsys.readouterr().err.splitlines() if "tracking" not in line]
    assert len(said) == 1
    assert "raise the limit (ulimit -f)" in said[0]
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.skipif(sys.platform == "win32", reason="outputs of POSIX")
@pytest.mark.parametrize(
    ("words", "closed", "status"),
    [
        (["--help"], ">&-", 0),
        (["--help"], ">&- 2>&-", 0),
        # What is wrong is not said on the other output.
        (["lst"], "2>&-", programs.REFUSED),
    ],
)
def test_a_program_does_its_work_where_the_shell_closed_its_outputs(words, closed, status):
    command = [sys.executable, "-m", "ccenv", *words]
    shell = ["bash", "-c", f'exec "$@" {closed}', "bash"]
    done = subprocess.run([*shell, *command], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_reader_that_leaves_early_breaks_no_pipe_loudly():
    command = [sys.executable, "-m", "ccenv", "--help"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait() in (0, programs.BROKEN_PIPE)
    assert said == b""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_stops_a_training_in_one_line(tmp_path):
    logs, said = tmp_path / "logs", tmp_path / "said"
    given = {**PROBE_SETTINGS, "images": 10**9, "batch_size": 64, "log_dir": str(logs)}
    child, status = os.fork(), 1
    if not child:
        # A process of a test run in the background would not hear it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with said.open("w") as err, contextlib.redirect_stderr(err):
                status = train.main(["reinforce", *pairs_of(given), "--json"])
        finally:
            os._exit(status)
    while not list(logs.rglob("events.out.tfevents.*")):
        time.sleep(0.05)
    os.kill(child, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    lines = said.read_text().splitlines()
    assert [line for line in lines if not line.startswith(("ccenv:", "runs: reinf"))] == [
        train.STOPPED
    ]


def test_every_bar_is_silent_where_there_is_no_terminal():
    bars = [
        (path.name, {word.arg for word in call.keywords})
        for path in MODULES.values()
        for call in ast.walk(tree_of(path))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "tqdm"
    ]
    assert len(bars) > 5
    assert [name for name, words in bars if "disable" not in words] == []


@pytest.mark.parametrize("name", FRAMED)
def test_every_program_has_the_frame(name):
    source = (ROOT / "runs" / "commands" / f"{name}.py").read_text()
    assert "\n@program(" in source
    assert "except KeyboardInterrupt" not in source


def test_a_terminal_of_ascii_gets_a_question_mark(monkeypatch):
    @programs.program("say")
    def main(arguments=None):
        print("mean ± deviation")
        return 0

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main([]) == 0
    assert out.buffer.getvalue() == b"mean ? deviation\n"
