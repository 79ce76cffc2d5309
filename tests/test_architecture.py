"""The layout: what may import what, what stays light, and that everything public is explained."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What a folder holds, from the ground up: a file or folder imports only what stands before it in
# its folder's line, so that nothing has to be understood together. Entries of tables in the form
# "module:name" are no imports.
FLOORS = {
    "ccenv": (
        "base sparse data networks mdp rewards simulator mask_table envs deploy agents sb3 torchrl"
    ),
    "ccenv.base": (
        "seeding registry ranks joined shared_rows allocation masks memory clock processor "
        "user_cache checked_arrays checked_file tree_file snapshot"
    ),
    "ccenv.sparse": (
        "reference grouped operands cpu kept_memory layer_costs shipped_costs cost_model "
        "masked_dense few_rows calibration price_switch machine_prices repeat merge gpu routes "
        "linear conv_routes conv2d"
    ),
    "ccenv.sparse.cpu": (
        "codegen places sharing once listed transposes tiles lists row_kernel kernels "
        "blank_kernels gradient_tiles slopes wide_gradients gradients packed_weights buffers "
        "repeat_kernels repeat_layer merge_kernels pool_kernels layer_gradients layer "
        "conv_kernels conv_gradients conv_layer"
    ),
    "ccenv.sparse.cpu.codegen": (
        "compiled registers vectors bits transposes micro_kernels across_micro_kernels floats "
        "gradient_micro_kernels"
    ),
    "ccenv.sparse.gpu": (
        "plan roofline launch kernels lists products gradients layer dense door routes"
    ),
    "ccenv.sparse.gpu.kernels": "lists tiles dense vectors gradients",
    "ccenv.data": (
        "moved_copies transforms rows fitted split checked probe bundled parity surprise unpacked "
        "npz real mixed map_style given folder text_files text_archives text"
    ),
    "ccenv.networks": (
        "protocol memory costs mlp operations counting stage packed norms flow sequential one_row "
        "exits gate_values gating check_reads check frozen_cache build dropout probe models "
        "pretrained table recipe shipped training inactive teacher"
    ),
    "ccenv.networks.gating": (
        "traced_values trace seen_values tracer gated_calls gate_units gate_fits gate_plan "
        "gated_walk gated_module gate gateable"
    ),
    "ccenv.networks.models": (
        "residual probe_units summed transformer windows tokens look_ups embedding linear_stage "
        "conv experts whole small_conv early pondering chunks patch_trunk stream streaming "
        "pruned_weights pruned pruned_blocks text_rivals ngram_counts ngram"
    ),
    "ccenv.networks.pretrained": (
        "packages mobile_blocks linear_head efficientnet llama smollm_file smollm smollm_text"
    ),
    "ccenv.mdp": (
        "action_codes step_kernels settle_kernels bills dynamics looks symbols observations"
    ),
    "ccenv.rewards": (
        "description answers plain stateful bind lagrangian block_use target_density balance "
        "potential time_table latency"
    ),
    "ccenv.simulator": (
        "sharing step image_order network_source weights cotraining simulator settings resume "
        "policy sb3_policy rollout menus evaluate ranges spending context oblivious versions "
        "published concurrent"
    ),
    "ccenv.mask_table": (
        "menus answers header times table shipped board drawn building network played"
    ),
    "ccenv.mask_table.answers": (
        "forms exact fronts at_cost estimators learning bandit policy_file entry"
    ),
    "ccenv.mask_table.building": (
        "identity timing walk slopes prefix_looks chunks by_ranks buildable builder"
    ),
    "ccenv.envs": (
        "rows actions quick_steps options recycled table_rewards table_episodes table infos "
        "rendering window vector scalar action_views nested checked_calls checker stable_baselines "
        "table_sb3 sb3_views torchrl_view"
    ),
    "ccenv.deploy": (
        "fused policy_scores short_walk faster latency export_draw export_images export_content "
        "export generate mask_rules masked_walks masked_form onnx_file onnx_check "
        "micro_batches"
    ),
    "ccenv.deploy.fused": (
        "pooling tables noise program writer choosers network call classifier symbol_maps tokens"
    ),
    "ccenv.agents": (
        "symbol_embeddings base distributions counted_blocks numbers_of_blocks groups independent "
        "soft_masks search menus winner_take_all sb3_settings sb3_actor reference_policies "
        "fixed_mask hash_routing confidence entropy_threshold magnitude oracle reinforce "
        "actor_critic condnet reinforce_lagrangian rloo rloo_budget straight_through dynamic_gate "
        "topk noisy_topk act allocation gumbel disarm imitation wta_retrieval blockdrop skipnet "
        "pondernet sb3"
    ),
    "ccenv.runs": (
        "commands programs store plan stats show board engine again asked mask_tables studies "
        "sweeps report timing faults settings_help train compare eval plot view search list "
        "validate leaks benchmark calibrate gates retrieval table tables weights write export "
        "share serve completion cli pages document"
    ),
    "ccenv.runs.store": (
        "machine checksums commit program identity result_checks seal json_file folder masks_file "
        "exported uncollected recorded_rows recorded_cells recorded stored trust"
    ),
    "ccenv.runs.plan": (
        "values plain kinds explained sweep agent_settings plan settings command space"
    ),
    "ccenv.runs.stats": (
        "intervals habits bits measures results floors rows fronts points contests equal "
        "recorded_dense recorded_times"
    ),
    "ccenv.runs.show": "tables gate_table mask_table search_table standings drawing recall_figure",
    "ccenv.runs.board": "layout hparams projector tracking mirror",
    "ccenv.runs.engine": (
        "tail checkpoint stops best listener at_prices together building described run ranked jobs "
        "gathered shards machines run_jobs search study"
    ),
    "ccenv.runs.engine.machines": "pool remote engines on_ray on_slurm",
    "ccenv.runs.again": "rebuilt replay opened walked claims same_run verdicts",
    "ccenv.runs.asked": "gate_sweep leaks recalls",
    "ccenv.runs.mask_tables": "settings build times shown leaderboard",
    "ccenv.runs.studies": (
        "at_budgets text text_settings text_one_layer text_longer text_agents tuned_section "
        "quickstart "
        "digits_settings paper equal_cost low_density ablation shapings cost_limits front_mnist "
        "front_cifar10 estimators budget systems"
    ),
    "ccenv.runs.studies.budget": (
        "menu measured static parts policies passes published show times record"
    ),
    "ccenv.runs.studies.systems": "places asked sweep section recording concurrency parity",
    "ccenv.runs.studies.paper": (
        "numbers digitised faithful tables searches beside fig1 figures sections"
    ),
    "ccenv.runs.studies.equal_cost": "seeds rows ways mnist colour",
    "ccenv.runs.studies.ablation": "sweep section",
    "ccenv.runs.studies.estimators": (
        "problem moments curves fitted agents gatewise looks show record"
    ),
    "ccenv.runs.sweeps": "",
    "ccenv.runs.pages": "links promised facts marked notebook executed site stage",
    "ccenv.runs.report": (
        "families chart run_tables limits shapings tables curve_figures figures findings dense "
        "html inputs publish over_seeds"
    ),
    "ccenv.runs.report.dense": "tables figures section",
    "ccenv.runs.report.inputs": "blocks_seen layers prices view section",
    "ccenv.runs.faults": (
        "tiny left processes kills kill_program fresh circumstances circumstance_program damage "
        "kinds damage_program odd command_lines constructors fuzz samples fuzz_program size soak "
        "soak_program"
    ),
    "ccenv.runs.timing": (
        "masks kernels layers layouts networks beside subjects network_passes network_speed "
        "network_rates routes auto_elsewhere auto own_figures gpu environment table_rates growth "
        "training passes front_times onnx_times growth_figures speed_figures serving "
        "torchrl_rates serving_http"
    ),
}
# The package's own file is its roof, but for those of the topmost packages: programs stand on them.
ROOF, PROGRAM = "__init__", "__main__"

FOLDERS = {"ccenv": "ccenv", "agents": "ccenv.agents", "runs": "ccenv.runs"}
"""Folder of a checkout -> its import name."""
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
HEAVY = [
    *("stable_baselines3", "torchvision", "matplotlib", "triton", "sklearn", "tensorboard"),
    *("jinja2", "scipy", "pandas", "numba", "llvmlite", "filelock", "PIL"),
]


def module_name(path):
    """ccenv/data/npz.py -> ccenv.data.npz; agents/__init__.py -> ccenv.agents."""
    folder, *parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[-1] == ROOF:
        parts = parts[:-1]
    return ".".join([FOLDERS[folder], *parts])


MODULES = {module_name(path): path for path in FILES}
PACKAGES = {name for name, path in MODULES.items() if path.stem == ROOF}


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
    names = {name.split(".")[0] for name in found} & set(FOLDERS)
    assert names <= {"ccenv"}, f"{path.name} imports a folder of the checkout: {names}"
    return {name for name in found if name.split(".")[0] == "ccenv"}


def in_package(package):
    return [name for name in MODULES if name == package or name.startswith(f"{package}.")]


def part_of(package, module):
    """The file or folder of a package in which a module lies; the roof for the package itself."""
    return ROOF if module == package else module.removeprefix(f"{package}.").split(".")[0]


def inner_imports(package):
    """(who imports, what) for everything below a package, as its files and folders."""
    pairs = {
        (part_of(package, name), part_of(package, other))
        for name in in_package(package)
        for other in imported_modules(MODULES[name])
        if other == package or other.startswith(f"{package}.")
    }
    return {(one, other) for one, other in pairs if one != other}


def test_every_folder_has_its_line_and_every_file_a_place_in_it():
    assert set(FLOORS) == PACKAGES
    for package, line in FLOORS.items():
        parts = {part_of(package, name) for name in in_package(package)} - {ROOF, PROGRAM}
        if package == "ccenv":
            parts -= {"runs"}
        assert sorted(line.split()) == sorted(parts), package


@pytest.mark.parametrize("package", FLOORS)
def test_files_and_folders_import_only_what_stands_below_them(package):
    floors = [*FLOORS[package].split(), ROOF, PROGRAM]
    if package == "ccenv":
        # Its names are what agents are told and what runs stand on.
        floors.append("runs")
    up = [
        (one, other)
        for one, other in sorted(inner_imports(package))
        if floors.index(other) > floors.index(one)
    ]
    assert up == []


def test_no_file_imports_itself_by_a_longer_way():
    graph = {name: imported_modules(MODULES[name]) & set(MODULES) for name in MODULES}
    assert list(graphlib.TopologicalSorter(graph).static_order())


SHARED = {
    f"ccenv.agents.{name}"
    for name in (
        *("base", "distributions", "counted_blocks", "numbers_of_blocks", "groups"),
        *("independent", "soft_masks", "search", "menus", "symbol_embeddings", "winner_take_all"),
        *("sb3_settings", "sb3_actor"),
    )
}
"""What agents share."""


@pytest.mark.parametrize("name", in_package("ccenv.agents"))
def test_an_agent_imports_the_environment_and_what_agents_share_but_no_other_agent(name):
    others = {m for m in imported_modules(MODULES[name]) if m.startswith("ccenv.agents")}
    assert others <= SHARED


def test_the_environment_knows_no_agent_and_no_program():
    above = ("ccenv.agents", "ccenv.runs")
    for name in set(MODULES) - {m for top in above for m in in_package(top)}:
        assert not [m for m in imported_modules(MODULES[name]) if m.startswith(above)], name


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


@pytest.mark.parametrize("name", sorted(set(in_package("ccenv")) - set(in_package("ccenv.runs"))))
def test_only_programs_print_and_nothing_draws_from_streams_that_all_share(name):
    calls = [
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(MODULES[name].read_text()))
        if isinstance(node, ast.Call)
    ]
    assert "print" not in calls or name.endswith("__main__")
    shared = ("random.", "np.random.rand", "np.random.seed", "np.random.choice")
    assert not [call for call in calls if call.startswith(shared)]
