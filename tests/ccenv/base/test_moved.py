"""Laws of modules that moved: the old name is the module of today, and says so."""

import importlib
import runpy
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


def test_a_program_runs_by_its_old_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cli", "comapre"])
    with (
        pytest.warns(DeprecationWarning, match="ccenv.runs.cli has moved"),
        pytest.raises(SystemExit) as ended,
    ):
        runpy.run_module("ccenv.runs.cli", run_name="__main__", alter_sys=True)
    assert ended.value.code == 2
    assert "did you mean 'compare'?" in capsys.readouterr().err


def test_a_name_that_never_was_is_no_module():
    assert not has_module("ccenv.runs.never")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("ccenv.runs.never")
