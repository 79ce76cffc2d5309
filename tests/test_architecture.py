"""The layout: what may import what, and what stays light."""

import ast
import functools
import graphlib
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ccenv.agents import AGENTS

ROOT = Path(__file__).parent.parent

# Folders of a folder, from the ground up: what lies in one imports only from those before it, and
# from files beside them. Entries of tables in the form "module:name" are no imports.
FLOORS = {
    "ccenv": ("base sparse data networks mdp rewards simulator envs agents annexes runs"),
    "ccenv.networks": "core stages learning vision",
    "ccenv.annexes": ("data networks simulator mask_table tasks sparse_gpu agents deploy"),
    "ccenv.annexes.networks": "text gating pretrained baselines",
    "ccenv.runs": (
        "store config stats tables tensorboard engine replay mask_tables studies sweeps "
        "report suite commands lab"
    ),
    "ccenv.runs.lab": "benchmarks robustness mutants docs_build",
}
ANNEXES = "ccenv.annexes"
"""Asked for by name, and imported on use: a reader of the core need not know them. All else of
`ccenv` and `agents` is the core."""
FACADES = ("ccenv", "ccenv.torchrl")
"""Have names of annexes among theirs."""
ROOF = "__init__"

FOLDERS = {"ccenv": "ccenv", "agents": "ccenv.agents", "runs": "ccenv.runs"}
"""Folder of a checkout -> its import name."""
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
HEAVY = [
    "stable_baselines3",
    "torchvision",
    "matplotlib",
    "triton",
    "sklearn",
    "tensorboard",
    "jinja2",
    "scipy",
    "pandas",
    "numba",
    "llvmlite",
    "filelock",
    "PIL",
]


def module_name(path):
    """ccenv/data/npz.py -> ccenv.data.npz; agents/__init__.py -> ccenv.agents."""
    folder, *parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[-1] == ROOF:
        parts = parts[:-1]
    return ".".join([FOLDERS[folder], *parts])


MODULES = {module_name(path): path for path in FILES}
PACKAGES = {name for name, path in MODULES.items() if path.stem == ROOF}


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text())


@functools.cache
def imported_modules(path):
    """Modules of the project that a file imports, anywhere in it: `from a import b` may be a.b."""
    modules = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports by a relative name"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = inner & set(MODULES)
            # Names of a package itself beside modules of it count as an import of the package.
            modules |= submodules if submodules == inner else submodules | {node.module}
    names = {name.split(".")[0] for name in modules} & set(FOLDERS)
    assert names <= {"ccenv"}, f"{path.name} imports a folder of the checkout: {names}"
    if path == ROOT / "ccenv" / "__init__.py":
        # `ccenv.train` and its like: imported on use, and for the type checker.
        modules -= {"ccenv.runs.api", "ccenv.runs.comparing"}
    return {name for name in modules if name.split(".")[0] == "ccenv"}


def is_annex(name):
    return f"{name}.".startswith(f"{ANNEXES}.")


def part_of(name):
    """core, annexes, runs or lab: a module's part of the checkout."""
    if name.startswith("ccenv.runs"):
        return "lab" if name.startswith("ccenv.runs.lab") else "runs"
    return "annexes" if is_annex(name) else "core"


def in_package(package):
    return [name for name in MODULES if name == package or name.startswith(f"{package}.")]


def folder_of(package, module):
    """The folder of a package in which a module lies; None for the package's own files."""
    first = module.removeprefix(f"{package}.").split(".")[0]
    return first if f"{package}.{first}" in PACKAGES else None


def imports_between_folders(package):
    """(folder that imports, imported folder) for the folders of a package."""
    pairs = {
        (folder_of(package, name), folder_of(package, other))
        for name in in_package(package)
        for other in imported_modules(MODULES[name])
        if name != package and other.startswith(f"{package}.")
    }
    return {(one, other) for one, other in pairs if None not in (one, other) and one != other}


def test_every_folder_with_folders_has_a_line_that_names_them():
    named = {package: sorted(line.split()) for package, line in FLOORS.items()}
    below = {}
    for name in sorted(PACKAGES - {"ccenv"}):
        parent, _, folder = name.rpartition(".")
        below.setdefault(parent, []).append(folder)
    alone = {package for package, folders in below.items() if len(folders) == 1}
    assert named == {package: f for package, f in below.items() if package not in alone}


@pytest.mark.parametrize("package", FLOORS)
def test_folders_import_only_from_those_below_them(package):
    floors = FLOORS[package].split()
    up = [
        (one, other)
        for one, other in sorted(imports_between_folders(package))
        if floors.index(other) > floors.index(one)
    ]
    assert up == []


CORE = [name for name in MODULES if part_of(name) == "core"]


def test_the_core_imports_no_annex():
    wrong = {(name, other) for name in CORE for other in imported_modules(MODULES[name])}
    assert [p for p in sorted(wrong) if is_annex(p[1]) and p[0] not in FACADES] == []


def annexes_named_in(tree):
    """Strings of a file that name an annex, without those of tables that name what they offer."""
    tables = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("NameTable", "names_on_use")
    ]
    named = {id(inner) for table in tables for inner in ast.walk(table)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.match(rf"{ANNEXES}(\.|:|$)", node.value)
        and id(node) not in named
    ]


@pytest.mark.parametrize("name", CORE)
def test_the_core_calls_no_annex_by_a_string(name):
    if name != "ccenv.base.moved":
        assert annexes_named_in(tree_of(MODULES[name])) == []


@pytest.mark.parametrize(
    ("line", "annexes"),
    [
        ('kernels = on_use("ccenv.annexes.sparse_gpu.layer:triton_linear")(x)', 1),
        ('import_object("ccenv.annexes.tasks.catalogue:register_tasks", "ids")()', 1),
        ('READER = "ccenv.annexes.data.windows:text_split"', 1),
        ('GPU = NameTable({"dense": "ccenv.annexes.sparse_gpu.dense:dense_linear"})', 0),
    ],
)
def test_a_call_by_a_string_is_seen_and_a_table_is_none(line, annexes):
    assert len(annexes_named_in(ast.parse(line))) == annexes


def test_nothing_looks_up_a_module_by_a_string_but_tables_and_what_files_name():
    # What imports by a string: tables, facades, and `import_object` at the doors of files.
    callers = {
        name
        for name in MODULES
        if part_of(name) in ("core", "annexes")
        for node in ast.walk(tree_of(MODULES[name]))
        if isinstance(node, ast.Attribute) and node.attr == "import_module"
    }
    assert callers == {
        "ccenv",
        "ccenv.base.moved",
        "ccenv.base.registry",
        # Libraries of other people, by their own names.
        "ccenv.agents.foreign",
        "ccenv.annexes.networks.pretrained.packages",
    }


def test_nothing_that_is_shipped_imports_the_lab():
    lab = set(in_package("ccenv.runs.lab"))
    for name in set(MODULES) - lab:
        assert not imported_modules(MODULES[name]) & lab, name


def test_no_file_imports_itself_by_a_longer_way():
    graph = {name: imported_modules(MODULES[name]) & set(MODULES) for name in MODULES}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def is_an_agent(name):
    """Whether a file of `agents` defines an agent that a name of the table leads to."""
    return any(entry.split(":")[0] == name for entry in AGENTS.values())


AGENTS_LIE_IN = ("ccenv.agents", "ccenv.annexes.agents")


@pytest.mark.parametrize("name", [n for package in AGENTS_LIE_IN for n in in_package(package)])
def test_an_agent_imports_the_environment_and_what_agents_share_but_no_other_agent(name):
    others = imported_modules(MODULES[name]) - {name}
    assert not [other for other in others if is_an_agent(other)]


def test_the_environment_knows_no_agent_and_no_program():
    above = (*AGENTS_LIE_IN, "ccenv.runs")
    # The entrance of `python -m ccenv` leads to the programs.
    below = set(MODULES) - {"ccenv.__main__"} - {m for top in above for m in in_package(top)}
    for name in below:
        assert not [m for m in imported_modules(MODULES[name]) if m.startswith(above)], name


def test_importing_the_package_stays_light():
    program = f"import ccenv, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


HELP = f"""
import contextlib, io, sys
from ccenv.runs.commands import cli
for words in (["list"], *([name, "--help"] for name in cli.COMMANDS)):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        cli.main(words)
    assert text.getvalue(), words
    heavy = [name for name in {["torch", *HEAVY]} if name in sys.modules and name != "filelock"]
    assert not heavy, (words, heavy)
"""
"""Asks for the help of each command, and for the names of `ccenv list`."""


def test_help_and_names_wait_for_no_heavy_library():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


FIRST = """
import sys
import ccenv
from stable_baselines3 import PPO
from ccenv.sb3 import BlockSelectionVecEnv
for weights in ("frozen", "cotrain"):
    small = {"images": 64, "batch_size": 32, "weights": weights, "progress": False}
    assert ccenv.train("reinforce", log_dir=sys.argv[1], **small).result["latency"] == []
PPO("MlpPolicy", BlockSelectionVecEnv(16), n_steps=4, batch_size=64).learn(64)
assert "ccenv.sparse.cpu.kernels" not in sys.modules
assert "ccenv.sparse.cpu.codegen.vectors" not in sys.modules
"""
"""What newcomers do first, on the bundled digits."""


def test_first_runs_wait_for_no_kernels_of_layers(tmp_path):
    command = [sys.executable, "-c", FIRST, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_installed_package_is_found_beside_a_checkout_of_its_name(tmp_path):
    (tmp_path / "ccenv" / "runs").mkdir(parents=True)
    command = [sys.executable, "-c", "import ccenv; print(ccenv.__file__)"]
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=True
    )
    # Whichever checkout is installed: a folder alone would be a package without a file.
    assert Path(done.stdout.strip()).is_file()


def no_source(place, names):
    """Names in a folder that a copy of its sources leaves out: links, and files of other kinds."""
    paths = {name: Path(place, name) for name in names}
    return [n for n, p in paths.items() if p.is_symlink() or (p.is_file() and p.suffix != ".py")]


def test_a_checkout_without_symbolic_links_finds_all_three_folders(tmp_path):
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=no_source)
    for link in ("agents", "runs"):
        # As git writes a link where the system has none.
        (tmp_path / "ccenv" / link).write_text(f"../{link}")
    program = "import ccenv, ccenv.agents, ccenv.runs; print(ccenv.agents.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == tmp_path / "agents" / "__init__.py"


def setup_of(monkeypatch, command):
    """What setup.py asks of setuptools."""
    asked = {}
    monkeypatch.setattr("setuptools.setup", lambda **settings: asked.update(settings))
    monkeypatch.setattr(sys, "argv", ["setup.py", command])
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    return asked


def test_the_wheel_holds_every_package_but_the_lab_from_its_own_folder(monkeypatch):
    asked = setup_of(monkeypatch, "bdist_wheel")
    in_lab = {name for name in PACKAGES if f"{name}.".startswith("ccenv.runs.lab.")}
    assert set(asked["packages"]) == PACKAGES - in_lab
    assert {folder: asked["package_dir"][name] for folder, name in FOLDERS.items()} == {
        folder: folder for folder in FOLDERS
    }
    assert setup_of(monkeypatch, "editable_wheel")["package_dir"] == {"": "."}


def test_no_file_is_a_bag_of_helpers():
    assert not [path for path in FILES if path.stem in ("utils", "util", "helpers", "common")]


def test_no_two_files_of_tests_have_one_name():
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(set(names)) == sorted(names)


def test_nothing_draws_from_streams_that_all_share():
    shared = ("random.", "np.random.rand", "np.random.seed", "np.random.choice")
    for name in set(MODULES) - set(in_package("ccenv.runs")):
        calls = [
            ast.unparse(node.func)
            for node in ast.walk(tree_of(MODULES[name]))
            if isinstance(node, ast.Call)
        ]
        assert not [call for call in calls if call.startswith(shared)], name


def test_a_class_has_a_name_of_its_own_is_read_in_one_sitting_and_stays_what_it_is():
    shipped = [n for n in MODULES if part_of(n) != "lab" and "examples" not in n]
    # A specification calls what it has as the core does, beside which it is read.
    others = [name for name in shipped if not name.startswith("ccenv.minimal")]
    nodes = [node for name in others for node in tree_of(MODULES[name]).body]
    named = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    # TorchRL's view of the environment has the name of Gymnasium's.
    assert [n for n in {*named} if named.count(n) > 1] == ["BlockSelectionEnv"]
    for name, path in MODULES.items():
        nodes = list(ast.walk(tree_of(path)))
        classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
        assert not [one.name for one in classes if one.end_lineno - one.lineno >= 300], name
        targets = [t for node in nodes if isinstance(node, ast.Assign) for t in node.targets]
        assert not [t for t in targets if getattr(t, "attr", "") == "__class__"], name


def abilities_of(tree):
    """Names in what classes of a file assign to `abilities`, class by class."""
    for kind in [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
        for node in kind.body:
            target = getattr(node, "target", None) or getattr(node, "targets", [None])[0]
            if isinstance(target, ast.Name) and target.id == "abilities" and node.value:
                yield {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}


def test_every_ability_has_two_networks_at_least():
    kinds = tree_of(MODULES["ccenv.networks.core.abilities"]).body
    shipped = [path for name, path in MODULES.items() if not name.startswith("ccenv.runs")]
    named = [names for path in shipped for names in abilities_of(tree_of(path))]
    count = {
        kind.name: sum(kind.name in names for names in named)
        for kind in kinds
        if isinstance(kind, ast.ClassDef)
    }
    assert len(count) > 5
    # What one network alone does is a method of `GatedNetwork`, with a default for the others.
    assert [name for name, networks in count.items() if networks < 2] == []
