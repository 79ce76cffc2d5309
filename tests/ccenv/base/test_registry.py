"""Names become objects, those of earlier versions too; a wrong one is answered with the nearest."""

import importlib
import runpy
import sys

import pytest
import torch

from ccenv.base.registry import MOVED, check_names, has_module, nearest, resolve
from ccenv.base.seeding import stream, stream_seed

TABLE = {"square": "math:sqrt", "pi": 3, "rloo": "math:nothing"}


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder that Python imports from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_known_name_gives_the_tables_object_or_imports_it():
    import math

    assert resolve("pi", TABLE, "number") == 3
    assert resolve("square", TABLE, "number") is math.sqrt
    assert resolve("math:floor", TABLE, "number") is math.floor


def test_an_object_passes_unchanged():
    assert resolve(print, TABLE, "number") is print


def test_an_attribute_may_be_none_or_false(modules):
    (modules / "empties.py").write_text("nothing = None\nno = False\n")
    assert resolve("empties:nothing", {}, "thing") is None
    assert resolve("empties:no", {}, "thing") is False


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("squar", r"unknown number 'squar': did you mean 'square'\? \(yours: module:name\)"),
        ("zzz", "unknown number 'zzz': choose one of pi, rloo, square"),
        ("", "choose one of"),
        ("nowhere:thing", "no module named 'nowhere'; give module:attribute"),
        ("math.nowhere:thing", "no module named 'math.nowhere'"),
        ("math:squrt", "module 'math' has no attribute 'squrt'; did you mean 'sqrt'"),
        ("rloo", "module 'math' has no attribute 'nothing'"),
        ("math:", "expected number as module:name, got 'math:'"),
        (":sqrt", "expected number as module:name, got ':sqrt'"),
        (".math:sqrt", "expected number as module:name"),
    ],
)
def test_a_wrong_name_says_what_is_wrong_and_what_is_near(name, message):
    with pytest.raises(ValueError, match=message):
        resolve(name, TABLE, "number")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import a_library_that_is_not_there", ModuleNotFoundError),
        # Its name is the beginning of the user's module's name.
        ("import mine_with", ModuleNotFoundError),
        ("from math import squrt", ImportError),
        ("1 / 0", ZeroDivisionError),
        ("def half(", SyntaxError),
    ],
)
def test_an_error_inside_the_users_module_stays_as_it_is(modules, text, error):
    (modules / "mine_with_error.py").write_text(text)
    with pytest.raises(error):
        resolve("mine_with_error:thing", {}, "thing")


def test_check_names_passes_known_names_and_suggests_for_others():
    check_names(["a", "b"], ["a", "b", "c"], "letter")
    with pytest.raises(ValueError, match="unknown letter 'd': choose one of a, b, c"):
        check_names(["a", "d"], "abc", "letter")
    with pytest.raises(ValueError, match="unknown letter None"):
        check_names([None], "abc", "letter")
    with pytest.raises(ValueError, match=r"unknown letter \['a'\]"):
        check_names([["a"]], "abc", "letter")


def test_nearest_of_nothing_says_so():
    assert nearest("a", []) == "there are none"


def test_streams_of_other_names_and_seeds_are_independent_and_repeat():
    def drawn(seed, name):
        return torch.rand(4, generator=stream(seed, name)).tolist()

    assert drawn(0, "masks") == drawn(0, "masks")
    seeds = {stream_seed(seed, name) for seed in range(50) for name in ("masks", "order", "")}
    assert len(seeds) == 150
    assert len({seed % 2**32 for seed in seeds}) == 150
    assert drawn(0, "masks") != drawn(0, "order")


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
