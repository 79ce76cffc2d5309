"""The layout: what may import what, what stays light, and that everything public is explained."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The order in which to read the package. A file imports only files above it, so that nothing has
# to be understood together; entries of tables in the form "module:name" are not imports.
READING_ORDER = [
    "registry",
    "seeding",
    "memory",
    "checked_file",
    "tree_file",
    "snapshot",
    "blocks",
    "sparse.reference",
    "sparse.grouped",
    "sparse.operands",
    "sparse.compiled",
    "sparse.registers",
    "sparse.vectors",
    "sparse.bits",
    "sparse.panels",
    "sparse.floats",
    "sparse.listed",
    "sparse.tiles",
    "sparse.lists",
    "sparse.cost_model",
    "sparse.row_kernel",
    "sparse.kernels",
    "sparse.gradient_panels",
    "sparse.gradient_tiles",
    "sparse.gradients",
    "sparse.panel_cache",
    "sparse.buffers",
    "sparse.spread_kernels",
    "sparse.cpu",
    "sparse.spread",
    "sparse.pooling",
    "sparse.program",
    "sparse.gpu_plan",
    "sparse.gpu_roofline",
    "sparse.gpu_launch",
    "sparse.triton_lists",
    "sparse.triton_tiles",
    "sparse.triton_dense",
    "sparse.triton_vectors",
    "sparse.triton_gradients",
    "sparse.gpu_lists",
    "sparse.gpu_products",
    "sparse.gpu_gradients",
    "sparse.gpu_layer",
    "sparse.gpu_dense",
    "sparse.gpu",
    "sparse.gpu_routes",
    "sparse.routes",
    "sparse.linear",
    "networks",
    "dropout_mlp",
    "builders",
    "probe",
    "data.moved_copies",
    "data.transforms",
    "data.fitted",
    "data.split",
    "data.unpacked",
    "data.npz",
    "data.bundled",
    "data.real",
    "data.mixed",
    "data",
    "data.__main__",
    "weight_cache",
    "weights",
    "distillation",
    "costs",
    "dynamics",
    "observations",
    "fused_writer",
    "choosers",
    "fused_program",
    "fused",
    "timing",
    "rewards.description",
    "rewards.answers",
    "rewards.plain",
    "rewards.stateful",
    "rewards.lagrangian",
    "rewards.target_density",
    "rewards.potential",
    "rewards.time_table",
    "rewards.latency",
    "rewards.bind",
    "rewards",
    "simulator",
    "resume",
    "infos",
    "rendering",
    "vector_env",
    "env",
    "action_codes",
    "views",
    "sb3_policy",
    "rollout",
    "context",
    "latency",
    "checks",
    "sb3",
    "sb3_views",
    "export_draw",
    "export_images",
    "export_content",
    "export",
    "",
]
# Packages that hold nothing but their first line.
EMPTY = ["sparse"]

PACKAGES = ("ccenv", "agents", "runs")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
HEAVY = [
    *("stable_baselines3", "torchvision", "matplotlib", "triton", "sklearn", "tensorboard"),
    *("jinja2", "scipy", "pandas", "numba", "llvmlite", "filelock", "PIL"),
]


def module_name(path):
    """ccenv/data/npz.py -> ccenv.data.npz; ccenv/data/__init__.py -> ccenv.data."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported_modules(path):
    """Modules of the project that a file imports, anywhere in it: `from a import b` may be a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports by a relative name"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            known = inner & set(MODULES)
            # Names of a package itself beside modules of it count as an import of the package.
            found |= known if known == inner else known | {node.module}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def in_package(package):
    return [name for name in MODULES if name.split(".")[0] == package]


def test_the_reading_order_lists_every_file_of_the_package_once():
    listed = [f"ccenv.{name}".rstrip(".") for name in [*READING_ORDER, *EMPTY]]
    assert sorted(listed) == sorted(in_package("ccenv"))


@pytest.mark.parametrize("name", READING_ORDER)
def test_a_file_imports_only_files_above_it(name):
    above = {f"ccenv.{other}" for other in READING_ORDER[: READING_ORDER.index(name)]}
    full = f"ccenv.{name}".rstrip(".")
    assert imported_modules(MODULES[full]) - above == set()


@pytest.mark.parametrize("name", in_package("agents"))
def test_an_agent_imports_the_environment_and_what_agents_share_but_no_other_agent(name):
    shared = {
        *("agents.base", "agents.masks", "agents.sb3_settings", "agents.search"),
        *("agents.kept", "agents.gates", "agents.independent", "agents.sb3_actor"),
    }
    assert {m for m in imported_modules(MODULES[name]) if not m.startswith("ccenv")} <= shared


@pytest.mark.parametrize("name", EMPTY)
def test_a_package_that_is_only_a_folder_holds_only_its_first_line(name):
    tree = ast.parse(MODULES[f"ccenv.{name}"].read_text())
    assert len(tree.body) == 1
    assert ast.get_docstring(tree)


def test_importing_the_package_stays_light():
    program = f"import ccenv, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_installed_package_is_found_beside_a_checkout_of_its_name(tmp_path):
    (tmp_path / "ccenv" / "runs").mkdir(parents=True)
    command = [sys.executable, "-c", "import ccenv; print(ccenv.__file__)"]
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == ROOT / "ccenv" / "__init__.py"


def test_no_file_is_a_bag_of_helpers():
    assert not [path for path in FILES if path.stem in ("utils", "util", "helpers", "common")]


def public_definitions(tree):
    """Public functions, classes and their public methods."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


@pytest.mark.parametrize("name", MODULES)
def test_every_file_and_everything_public_in_it_has_a_docstring(name):
    tree = ast.parse(MODULES[name].read_text())
    assert ast.get_docstring(tree)
    assert not [node.name for node in public_definitions(tree) if not ast.get_docstring(node)]


@pytest.mark.parametrize("name", in_package("ccenv") + in_package("agents"))
def test_only_programs_print_and_nothing_draws_from_streams_that_all_share(name):
    calls = [
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(MODULES[name].read_text()))
        if isinstance(node, ast.Call)
    ]
    assert "print" not in calls or name.endswith("__main__")
    shared = ("random.", "np.random.rand", "np.random.seed", "np.random.choice")
    assert not [call for call in calls if call.startswith(shared)]
