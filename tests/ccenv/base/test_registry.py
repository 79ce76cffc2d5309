"""Names become objects, those of earlier versions too; a wrong one is answered with the nearest."""

import importlib

import pytest
import torch

from ccenv.agents import AGENTS, Agent
from ccenv.base import moved, registry
from ccenv.base.seeding import stream, stream_seed

TABLE = registry.NameTable({"square": "math:sqrt", "pi": 3, "rloo": "math:nothing"})


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder that Python imports from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_known_name_gives_the_tables_object_or_imports_it():
    import math

    assert registry.resolve("pi", TABLE, "number") == 3
    assert registry.resolve("square", TABLE, "number") is math.sqrt
    assert registry.resolve("math:floor", TABLE, "number") is math.floor
    assert TABLE["square"] is math.sqrt
    assert issubclass(AGENTS["reinforce"], Agent)


def test_an_attribute_may_be_none_or_false(modules):
    (modules / "empties.py").write_text("nothing = None\nno = False\n")
    assert registry.resolve("empties:nothing", {}, "thing") is None
    assert registry.resolve("empties:no", {}, "thing") is False


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
        registry.resolve(name, TABLE, "number")


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
        registry.resolve("mine_with_error:thing", {}, "thing")


def test_check_names_passes_known_names_and_suggests_for_others():
    registry.check_names(["a", "b"], ["a", "b", "c"], "letter")
    with pytest.raises(ValueError, match="unknown letter 'd': choose one of a, b, c"):
        registry.check_names(["a", "d"], "abc", "letter")
    with pytest.raises(ValueError, match="unknown letter None"):
        registry.check_names([None], "abc", "letter")
    with pytest.raises(ValueError, match=r"unknown letter \['a'\]"):
        registry.check_names([["a"]], "abc", "letter")


def test_streams_of_other_names_and_seeds_are_independent_and_repeat():
    def drawn(seed, name):
        return torch.rand(4, generator=stream(seed, name)).tolist()

    assert drawn(0, "masks") == drawn(0, "masks")
    seeds = {stream_seed(seed, name) for seed in range(50) for name in ("masks", "order", "")}
    assert len(seeds) == 150
    assert len({seed % 2**32 for seed in seeds}) == 150
    assert drawn(0, "masks") != drawn(0, "order")


@pytest.mark.parametrize(
    "path", [*moved.OBJECTS, "ccenv.agents.earlier:Rloo", "ccenv.networks.mlp:GatedMLP"]
)
def test_what_a_file_names_by_an_earlier_module_is_found(path):
    found = registry.import_object(path, "class")
    assert found.__name__ == path.partition(":")[2]


def test_a_name_that_never_was_is_no_module():
    assert not registry.has_module("ccenv.runs.never")
    assert not registry.has_module("ccenv.base.values.never")
    assert registry.has_module("ccenv.runs.commands.train")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("ccenv.runs.never")
