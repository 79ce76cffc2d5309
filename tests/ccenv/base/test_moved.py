"""Laws of modules that moved: the old name is the module of today, and says so."""

import importlib
import subprocess
import sys

import pytest

from ccenv.base.registry import MOVED, has_module

MODULES = [name for name in MOVED if name.startswith("ccenv.") and ":" not in name]


@pytest.fixture(params=MODULES)
def old(request):
    """An old name that nobody has imported yet; afterwards as if nobody had."""
    name = request.param
    parent, _, last = name.rpartition(".")
    yield name
    sys.modules.pop(name, None)
    vars(sys.modules[parent]).pop(last, None)


def test_the_old_name_is_the_module_of_today_and_warns_once(old):
    assert has_module(old)
    with pytest.warns(DeprecationWarning, match=f"{old} has moved to {MOVED[old]};") as warned:
        found = importlib.import_module(old)
    assert found is importlib.import_module(MOVED[old])
    assert found.__spec__.name == MOVED[old]
    assert importlib.import_module(old) is found
    assert len(warned) == 1


def test_what_is_imported_of_an_old_name_is_that_of_today_and_the_line_is_named():
    program = "from ccenv.runs.cli import main; from ccenv.runs import programs"
    command = [sys.executable, "-c", f"{program}; print(main.__module__, programs.__name__)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "ccenv.runs.commands.cli ccenv.runs.commands.frame\n"
    assert done.stderr.count("<string>:1: DeprecationWarning: ccenv.runs.") == 2


def test_a_program_runs_by_its_old_name():
    command = [sys.executable, "-m", "ccenv.runs.cli", "comapre"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean 'compare'?" in done.stderr
    assert "ccenv.runs.cli has moved" in done.stderr


def test_a_name_that_never_was_is_no_module():
    assert not has_module("ccenv.runs.never")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("ccenv.runs.never")
