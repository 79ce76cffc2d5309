"""Doors from a file to code: all of them are listed here, and no hostile file goes through one.

A file may name what stands in the project's tables, and modules that the reader trusts by name; see
`ccenv.base.trust`. A canary lies in the working folder: it sings when it is imported.
"""

import ast
import contextlib
import dataclasses
import functools
import json
import re
import shutil
import sys
from collections import Counter

import pytest
from test_architecture import FILES, ROOT

import ccenv
from ccenv.agents.foreign import open_policies
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.mask_table.table import shipped_table, write_table
from ccenv.base.checked_file import load_tree, save_tree
from ccenv.base.files import sealed
from ccenv.base.registry import TABLES, import_object
from ccenv.base.trust import check_named, import_trusted, path_of_entry
from ccenv.runs.commands import cli, train
from ccenv.runs.commands.cli import COMMANDS
from ccenv.runs.config.command import read_config
from ccenv.runs.engine.collect_runs import gather_folders
from ccenv.runs.replay.rebuilt import open_run, plan_of

TABLE = "the name stands in the code, or in a table of it"
DOOR = "the door itself: only after the name was found in a table or in a trusted module"
CHECKED = "names of a file come here after `check_named` has passed them; others are the reader's"
OBJECT = "no file: an object that is there, asked for its own name or attributes"
TRUSTED = "a file of a model that the user trusts by name: its pickles may run anything"
DATA = "arrays, tensors or numbers: pickle is refused by the loader"
DOORS = {
    TABLE: (
        "__getattr__: import_module",
        "names_on_use.find: import_module, getattr, sys.modules",
        "today: import_module, getattr",
        "NameTable.__getitem__: import_object",
        "check_named: import_object",
        "is_in_table: import_object",
        "shipped_study: import_object",
        "own_part: import_object",
        "check_installed: find_spec",
        "reason_against: find_spec",
        "needed: import_module",
        "module_of: import_module",
        "MovedModules.exec_module: import_module, sys.modules",
        "purpose_of: resolve",
        "check_fits: resolve",
        "of_table: resolve",
        "environment_line: resolve",
        "telling_settings: resolve",
        "writer_of: import_module",
    ),
    DOOR: (
        "import_object: import_module",
        "has_module: find_spec, sys.modules",
        "ModulesOfFolder.find_spec: find_spec",
        "resolve: import_object",
        "check_named: import_trusted",
        "import_trusted: import_object",
    ),
    CHECKED: (
        "_load: resolve",
        "make_transform: resolve",
        "make_code: resolve",
        "own_observer: resolve",
        "make_reward: resolve",
        "source_of: resolve",
        "find_agent: resolve",
        "stored_network: import_object",
        "stored_agent: import_object",
        "depends_on_machine: resolve",
        "pays_again: resolve",
        "code_digests: import_object",
        "make_environment: resolve",
        "check_has_cost_weight: resolve",
        "Addition.is_agent: import_object",
        "open_policies: import_object",
        "find_study: resolve",
        "hyperparameters: resolve",
        "main: gym.make_vec",
    ),
    OBJECT: (
        "path_to: import_object",
        "aten: getattr",
        "Recorder.__torch_function__: getattr",
    ),
    TRUSTED: ("open_zip.load: load_from_zip_file", "open_zip.load_statistics: load_from_pkl"),
    DATA: (
        "arrays_of_file: np.load",
        "digits: np.load",
        "bundled_digits: np.load",
        "packaged_tensors: torch.load",
    ),
}
"""Why a name or a file is safe there -> functions, and what they call that turns it into code."""
IMPORTERS = ("import_object", "import_trusted", "import_module", "find_spec", "__import__")
OTHERS = ("run_module", "run_path", "exec_module", "load_module", "attrgetter", "methodcaller")
OTHERS += ("load_from_zip_file", "load_from_pkl")
BUILTINS = ("exec", "eval", "compile", "__import__")
LOADS = ("torch.load", "np.load", "numpy.load", "gym.make", "gymnasium.make", "gym.make_vec")
MODULES_BY_NAME = ("sys.modules", "globals()")
PICKLES = ("pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "runpy", "yaml", "pydoc")
WORDS = (*IMPORTERS, *OTHERS, "exec(", "eval(", "compile(", "resolve", "getattr", *MODULES_BY_NAME)
WORDS += (*LOADS, *PICKLES)


def turns_into_code(call, imported):
    """What a call does with a text that may be a name, or a file that may hold code; else None."""
    function, owner = call.func, None
    if isinstance(function, ast.Attribute):
        last, owner = function.attr, ast.unparse(function.value)
        # `Path.resolve` takes no name.
        if last in (*IMPORTERS, *OTHERS) or (last == "resolve" and call.args):
            return last
        return f"{owner}.{last}" if f"{owner}.{last}" in LOADS else None
    if not isinstance(function, ast.Name):
        return None
    if function.id in (*IMPORTERS, *OTHERS, *BUILTINS, "resolve"):
        return function.id
    if function.id != "getattr" or isinstance(call.args[1], ast.Constant):
        return None
    owner = call.args[0]
    while isinstance(owner, ast.Attribute):
        owner = owner.value
    is_type = isinstance(owner, ast.Call) and ast.unparse(owner.func) == "type"
    is_imported = isinstance(owner, ast.Name) and owner.id in imported
    return "getattr" if is_imported or (isinstance(owner, ast.Call) and not is_type) else None


def doors_in(node, imported, where=""):
    """(function, what it calls) of every place in a file where a text may become code."""
    for child in ast.iter_child_nodes(node):
        inner = where
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{where}.{child.name}".strip(".")
        if isinstance(child, ast.Call) and (callee := turns_into_code(child, imported)):
            yield where, callee
        if isinstance(child, ast.Import | ast.ImportFrom):
            names = [getattr(child, "module", None) or "", *(alias.name for alias in child.names)]
            packages = {name.partition(".")[0] for name in names}
            yield from ((where, name) for name in sorted(packages & set(PICKLES)))
        if isinstance(child, ast.Subscript) and not isinstance(child.slice, ast.Constant):
            owner = ast.unparse(child.value)
            yield from ((where, owner) for name in MODULES_BY_NAME if owner == name)
        yield from doors_in(child, imported, inner)


def names_imported(tree):
    """Names that a file's imports bind."""
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    return {(a.asname or a.name).partition(".")[0] for node in imports for a in node.names}


@functools.cache
def suspects():
    """Files, as trees, in whose text one of the words stands."""
    words = re.compile("|".join(map(re.escape, WORDS)))
    # Nobody is given the lab: it reads what its own checkout holds.
    shipped = [path for path in FILES if not path.is_relative_to(ROOT / "runs" / "lab")]
    texts = {path: path.read_text() for path in shipped}
    return {path: ast.parse(text) for path, text in texts.items() if words.search(text)}


def test_every_way_from_a_text_to_code_is_listed_with_the_reason_why_no_file_goes_it():
    expected = Counter(
        (function, call)
        for lines in DOORS.values()
        for line in lines
        for function, calls in [line.split(": ")]
        for call in calls.split(", ")
    )
    trees = suspects().values()
    assert Counter(d for tree in trees for d in doors_in(tree, names_imported(tree))) == expected


def test_nothing_that_makes_code_of_names_is_called_by_another_name():
    words = {*IMPORTERS, *OTHERS, *BUILTINS, "resolve", "getattr"}
    for path, tree in suspects().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not words & {alias.name for alias in node.names if alias.asname}, path
            if isinstance(node, ast.Call):
                # Handed on as a function, it would be called where no test looks.
                handed = [*node.args, *(word.value for word in node.keywords)]
                names = {one.id for one in handed if isinstance(one, ast.Name)} & words
                # The recorder of a user's model notes which attribute is read of a tensor.
                assert not names or path.stem == "recorder", path


CANARY = """
import pathlib

pathlib.Path({mark!r}).touch()


class Song:
    pass


def song(*given, **named):
    pass
"""
HOSTILE = (
    "canary:Song",
    "canary:song",
    "agents.canary:Song",
    "ccenv.runs.api:train",
    "os:system",
)


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A working folder with modules that leave a mark when they are imported; the mark."""
    mark = tmp_path / "sang"
    for folder in (tmp_path, tmp_path / "agents"):
        folder.mkdir(exist_ok=True)
        (folder / "canary.py").write_text(CANARY.format(mark=str(mark)))
    (tmp_path / "agents" / "__init__.py").write_text(CANARY.format(mark=str(mark)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield mark
    sang = mark.exists()
    for name in ("canary", "agents", "agents.canary"):
        sys.modules.pop(name, None)
    assert not sang


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of a run that left a classifier."""
    place = tmp_path_factory.mktemp("doors")
    words = ["weights=cotrain", "images=64", "batch_size=32", f"log_dir={place}"]
    assert train.main(["reinforce", *words, "--export"]) == 0
    (result,) = place.rglob("result.json")
    return result.parent


def file_of(run):
    return run / "checkpoint" / "classifier.safetensors"


def leaves(node, at=()):
    """Where in nested content something stands that holds nothing more; empty parts too."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if is_list(node) else ()
    inner = list(inner)
    if not inner:
        yield at
    for key, value in inner:
        yield from leaves(value, (*at, key))


def is_list(node):
    return isinstance(node, list | tuple)


def put(node, at, value):
    """A copy with another value at a place."""
    if not at:
        return value
    if isinstance(node, dict):
        return {**node, at[0]: put(node.get(at[0]), at[1:], value)}
    items = list(node)
    items[at[0]] = put(items[at[0]], at[1:], value)
    return type(node)(items)


def test_a_name_anywhere_in_a_classifier_is_not_followed(exported, canary, tmp_path):
    content = load_tree(file_of(exported))
    transform = {"name": "standardise", "tensors": ()}
    content["images"] = {**content["images"], "transforms": [transform]}
    content["network"] = {**content["network"], "kwargs": {"rate": 1}, "tensors": {}}
    content["agent"] = {**content["agent"], "tensors": {}}
    path = tmp_path / "classifier.safetensors"
    for at in leaves(content):
        for value in (*HOSTILE, [HOSTILE[0]], {"x": HOSTILE[1]}):
            save_tree(path, put(content, at, value))
            told = "got another" if at == ("format",) else "which was not imported"
            with pytest.raises(ValueError, match=told):
                SkippingClassifier.load(path)


def test_what_the_table_holds_is_stored_under_the_tables_own_path():
    for kind in ("agent", "network", "reward", "dataset", "transform"):
        for entry in import_object(TABLES[kind], "table").values():
            path = path_of_entry(entry)
            target = import_object(path, kind)
            assert f"{target.__module__}:{target.__qualname__}" == path
            check_named({"name": path}, {"name": kind})


def test_a_name_anywhere_in_a_runs_settings_is_not_followed(exported, canary, tmp_path):
    config = json.loads((exported / "config.json").read_text())
    config["environment"]["transforms"] = ["shift=2", "halve"]
    config["environment"]["reward_kwargs"] = {"cost_weight": 1.0}
    path = tmp_path / "config.json"
    behind = [f"halve, {HOSTILE[0]}", f"halve=1,{HOSTILE[1]}"]
    for at in leaves(config):
        for value in (*HOSTILE, *behind, [HOSTILE[0]], {"x": HOSTILE[1]}):
            changed = put(config, at, value)
            path.write_text(json.dumps(changed))
            if at == ("log_dir",):
                # A place to write to: no name, and read as none.
                with contextlib.suppress(ValueError):
                    read_config(path)
                continue
            with pytest.raises(ValueError, match=r"not imported|unknown|expected"):
                plan_of(changed)
            with pytest.raises(ValueError, match=r"not imported|unknown|expected"):
                read_config(path)


@pytest.mark.parametrize("program", ["ccenv.runs.examples.reinforce", "ccenv.runs.lab.__main__"])
def test_a_name_below_a_program_of_ours_does_not_run_it(program, monkeypatch):
    monkeypatch.delitem(sys.modules, program, raising=False)
    with pytest.raises(ValueError, match="which was not imported"):
        check_named({"agent": f"{program}.below:Agent"}, {"agent": "agent"})
    assert program not in sys.modules


def test_a_trusted_module_is_followed_and_its_neighbour_and_its_imports_are_not(canary, tmp_path):
    (tmp_path / "mine.py").write_text("from shutil import rmtree\n\n\ndef reward(outcome): ...\n")
    (tmp_path / "mine.toml").write_text('agent = "rloo"\nreward = "mine:reward"\n')
    with pytest.raises(ValueError, match="--trust mine"):
        read_config(tmp_path / "mine.toml")
    assert read_config(tmp_path / "mine.toml", ["mine"])["reward"] == "mine:reward"
    for name in ("canary:song", "minefield:song", "agents.canary:Song"):
        with pytest.raises(ValueError, match="not imported"):
            import_trusted(name, "reward", ["mine", "agent", "ccenv.agents", "can"])
    with pytest.raises(ValueError, match="one of shutil"):
        import_trusted("mine:rmtree", "reward", ["mine"])
    sys.modules.pop("mine")


def hostile_run(run, place):
    """A copy of a run of which settings, result and classifier name the canary."""
    shutil.copytree(run, place)
    config = json.loads((place / "config.json").read_text())
    result = json.loads((place / "result.json").read_text())
    config["environment"] |= {"dataset": HOSTILE[0], "reward": HOSTILE[1]}
    (place / "config.json").write_text(json.dumps(config))
    changed = {**result, "settings": config, "reward": HOSTILE[1], "data": {HOSTILE[0]: "0" * 24}}
    (place / "result.json").write_text(json.dumps(sealed(changed)))
    content = load_tree(file_of(place))
    content["images"] = {**content["images"], "transforms": [{"name": HOSTILE[0], "tensors": ()}]}
    save_tree(file_of(place), content)
    return place


def hostile_results(place):
    """Recorded runs of a sweep which say that they were made on the canary's data."""
    content = json.loads((ROOT / "runs" / "results" / "text-quick.json").read_text())
    cells = [sealed({**cell, "data": {HOSTILE[0]: "0" * 24}}) for cell in content["cells"]]
    head = sealed({name: value for name, value in content.items() if name != "cells"})
    place.mkdir()
    (place / "text-quick.json").write_text(json.dumps({**head, "cells": cells}))
    return place


def hostile_table(place):
    """A table of masks of the canary's network and data."""
    table = shipped_table("resnet20")
    names = {"network": HOSTILE[0], "dataset": HOSTILE[1], "transforms": (HOSTILE[0],)}
    settings = {"weights": "frozen", "network_kwargs": {"rate": HOSTILE[0]}}
    header = dataclasses.replace(table.header, settings=settings, **names)
    write_table(place, dataclasses.replace(table, header=header))
    return place


def toml(place):
    place.write_text(f'agent = "rloo"\nreward = "{HOSTILE[1]}"\n')
    return place


REFUSED, SHOWN = 2, 0
FILE = {
    "train": lambda place, run: (REFUSED, ["--config", toml(place / "mine.toml")]),
    "compare": lambda place, run: (
        REFUSED,
        ["text-quick", "--no-run", "--results-dir", hostile_results(place / "results")],
    ),
    "eval": lambda place, run: (REFUSED, [run]),
    "inspect": lambda place, run: (REFUSED, [run]),
    "validate": lambda place, run: (1, [run]),
    "table": lambda place, run: (SHOWN, ["show", hostile_table(place / "table.safetensors")]),
    "generate": lambda place, run: (REFUSED, [run]),
    "export": lambda place, run: (REFUSED, [run, "--onnx"]),
}
"""Command -> its exit status and words that lead it to a hostile file."""


def test_every_command_that_asks_whom_to_trust_is_tried_with_a_hostile_file(capsys):
    for command in COMMANDS:
        with contextlib.suppress(SystemExit):
            cli.main([command, "--help"])
        asks = "--trust" in capsys.readouterr().out
        assert command in FILE or not asks


@pytest.mark.parametrize("command", FILE)
def test_no_command_imports_what_a_file_names(command, exported, canary, tmp_path, capsys):
    run = hostile_run(exported, tmp_path / "seed-0")
    status, words = FILE[command](tmp_path, run)
    assert cli.main([command, *map(str, words)]) == status, capsys.readouterr()


NO_NAME = "expected the name of a module"
TRUSTING = {
    "compare": lambda path, trust: ccenv.compare("text-quick", trust=trust),
    "load": lambda path, trust: SkippingClassifier.load(path, trust=trust),
    "check_named": lambda path, trust: check_named({}, {}, trust),
    "open_policies": lambda path, trust: open_policies(path, trust),
    "validate": lambda path, trust: open_run(path.parent.parent, trust),
}
"""Functions that are told whom to trust."""


@pytest.mark.parametrize("name", ["", " "])
def test_nothing_is_trusted_by_a_shell_variable_that_is_not_set(
    name, exported, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for trusts in TRUSTING.values():
        with pytest.raises(ValueError, match=NO_NAME):
            trusts(file_of(exported), [name])
    for command in FILE.keys() - {"table"}:
        assert exit_status(cli.main, [command, str(exported), "--trust", name]) == REFUSED
        (line,) = capsys.readouterr().err.splitlines()
        assert NO_NAME in line
    assert not [*tmp_path.iterdir()]


def exit_status(main, words):
    """Of a program that may end itself."""
    try:
        return main(words)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize("command", ["generate", "export"])
def test_a_sound_classifier_beside_hostile_settings_does_not_open_their_data(
    command, exported, canary, tmp_path, capsys
):
    if command == "export":
        pytest.importorskip("onnx")
    run = hostile_run(exported, tmp_path / "seed-0")
    shutil.copyfile(file_of(exported), file_of(run))
    words = ["--onnx"] if command == "export" else []
    assert cli.main([command, str(run), *words]) == REFUSED
    assert "which was not imported" in capsys.readouterr().err


def test_a_run_that_names_the_canary_is_plotted_without_its_weights(exported, canary, tmp_path):
    comparison = gather_folders([hostile_run(exported, tmp_path / "seed-0")], "plot")
    assert comparison.rows[0]["dataset"] == HOSTILE[0]
