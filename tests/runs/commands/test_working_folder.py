"""The working folder may be a stranger's: no command runs a file of it that the user did not name.

The folder holds a file for every module that a command, or a library, tries to import while all
commands run, and one for every module of Python's own library. Beside them lies the user's module.
"""

import importlib
import os
import pickle
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from ccenv.base import modules_here
from ccenv.base.registry import import_object
from ccenv.runs.commands.cli import COMMANDS

ROOT = Path(__file__).parents[3]
HOSTILE = """
open({ran!r} + "/" + __name__, "w").close()
raise ImportError("no module of that name")
"""
MINE = """
import torch

import helper_of_mine
from ccenv.agents.rloo import Rloo


class Mine(Rloo):
    def update(self, rollout):
        import later_helper_of_mine

        return later_helper_of_mine.same(super().update(rollout))


def reward(outcome):
    return -outcome.layer_cost
"""
SWEEP = """
seeds = [0]
[[rows]]
agent = "mine_of_here:Mine"
[rows.settings]
dataset = "probe"
network = "probe"
num_blocks = [4, 4]
block_size = 2
activation = "relu"
reward = "mine_of_here:reward"
images = 64
batch_size = 64
latency = false
"""
ENTRIES = ("gymnasium.envs", "torch.backends", "numba_extensions", "matplotlib.backend")
"""Groups in which libraries look for what is installed, and import it."""
OTHERS = {
    "mine_of_here.py": MINE,
    "helper_of_mine.py": "",
    "later_helper_of_mine.py": "def same(found):\n    return found\n",
    "mine.toml": SWEEP,
    "matplotlibrc": "backend: module://plugin_of_here\n",
    ".numba_config.yaml": "cache_dir: kept_here\n",
    "plugin-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n",
    "plugin-1.0.dist-info/entry_points.txt": "".join(
        f"[{group}]\nplugin = plugin_of_here:start\n" for group in ENTRIES
    ),
}
DRIVER = f"""
import contextlib, os, pathlib, sys


class Creates:
    # Makes a hostile file of every name that is looked for, before anybody looks.
    def find_spec(self, name, path=None, target=None):
        place = pathlib.Path(f"{{name}}.py")
        if path is None and name != "ccenv" and not place.exists():
            place.write_text({HOSTILE!r}.format(ran=sys.argv[1]))
            sys.path_importer_cache.pop(os.getcwd(), None)


if __name__ == "__main__":
    sys.meta_path.insert(0, Creates())
    from ccenv.runs.commands.cli import main

    def go(status, *words):
        found = main([str(word) for word in words])
        assert found == status, (found, words)
        done.add(words[0])

    def run_with(text):
        (found,) = [p for p in pathlib.Path("runs/logs").rglob("seed-0") if text in str(p)]
        return found

    done, trust = set(), ["--trust", "mine_of_here"]
    text = ["dataset=book", "network=bytes", "network_kwargs.num_blocks=4", "images=64"]
    text += ["network_kwargs.block_size=8", "observation=symbols", "batch_size=64"]
    text += ["weights=cotrain", "embedding_size=4", "latency=false"]
    go(0, "train", "mine_of_here:Mine", "reward=mine_of_here:reward", *text, "--export")
    run = run_with("book")
    go(0, "compare", "mine.toml", *trust)
    go(0, "eval", run, *trust)
    go(0, "validate", run, *trust)
    go(0, "plot", run)
    go(0, "inspect", run, *trust)
    go(0, "list", "rewards", "mine_of_here:reward")
    go(0, "data", "book")
    go(0, "table", "build", "probe", "probe", "num_blocks=4,4", "block_size=2", "activation=relu")
    go(0, "suite", "mine_of_here:Mine", "--task", "basic-4", "--seeds", 1)
    go(0, "benchmark", "--width", 64, "--blocks", 2, "--rounds", 2)
    go(0, "generate", run, "--length", 3, *trust)
    for command in set({list(COMMANDS)!r}) - done:
        with contextlib.suppress(SystemExit):
            main([command, "--help"])
"""
"""What the console script does, for one command after the other; of a new one its help."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The stranger's folder, and beside it one in which every file that ran has left a mark."""
    root = tmp_path_factory.mktemp("stranger")
    for name in ("here", "here/plugin-1.0.dist-info", "ran", "data"):
        (root / name).mkdir()
    hostile = HOSTILE.format(ran=str(root / "ran"))
    for name in (*sys.stdlib_module_names, "plugin_of_here"):
        (root / "here" / f"{name}.py").write_text(hostile)
    for name, text in OTHERS.items():
        (root / "here" / name).write_text(text)
    (root / "data" / "book.txt").write_text("abcdefgh\n" * 200)
    (root / "driver.py").write_text(DRIVER)
    return root / "here"


def run_in(folder, *words):
    """Runs Python in the folder; what failed in the output."""
    given = {"PYTHONPATH": str(ROOT), "CCENV_DATA": str(folder.parent / "data")}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | given, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_no_command_runs_a_file_of_the_folder_but_the_users_modules(folder):
    ran = folder.parent / "ran"
    run_in(folder, folder.parent / "driver.py", ran)
    made = {path.stem for path in folder.glob("*.py")}
    assert {"torch", "matplotlib", "dill", "tqdm"} <= made
    # Python itself looks for its own modules there first, before it comes to the package.
    for name in sys.stdlib_module_names:
        (folder / f"{name}.py").unlink()
    assert "mine" in run_in(folder, "-m", "ccenv", "list", "rewards", "mine_of_here:reward")
    assert [path.name for path in ran.iterdir()] == []
    assert not (folder / "kept_here").exists()


NEIGHBOURS = {
    "one_of_here": "import two_of_here\n\n\nclass Thing:\n    def later(self):\n"
    "        import three_of_here\n\n        return three_of_here\n",
    "two_of_here": "",
    "three_of_here": "",
    "alone_of_here": "",
    "statistics": "",
}
UNPICKLE = "import ccenv, pickle, sys; print(pickle.load(sys.stdin.buffer).later().__name__)"


def test_a_module_of_the_folder_is_found_by_its_name_and_by_its_neighbours_and_by_no_other(
    tmp_path,
):
    for name, text in NEIGHBOURS.items():
        (tmp_path / f"{name}.py").write_text(text)
    before = dict(os.environ)
    with modules_here.modules_of(str(tmp_path)):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("one_of_here")
        thing = import_object("one_of_here:Thing", "thing")()
        assert thing.later().__name__ == "three_of_here"
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("alone_of_here")
        # Behind all libraries.
        assert import_object("statistics:mean", "mean") is statistics.mean
        # A child process, whose first import of the module is by pickle.
        child = [sys.executable, "-c", UNPICKLE]
        given = os.environ | {"PYTHONPATH": str(ROOT)}
        said = subprocess.run(child, env=given, input=pickle.dumps(thing), capture_output=True)
        assert said.stdout.decode().strip() == "three_of_here", said.stderr.decode()
    assert dict(os.environ) == before
    assert not any(isinstance(f, modules_here.ModulesOfFolder) for f in sys.meta_path)
    for name in NEIGHBOURS.keys() - {"statistics"}:
        sys.modules.pop(name, None)
