"""The GPU's route without a GPU: its laws in Triton's interpreter, its plans, and its excuses."""

import importlib.util
import os
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.annexes.sparse_gpu import plan as gpu_plan
from ccenv.annexes.sparse_gpu import routes

HERE, CPU = Path(__file__).parent, torch.device("cpu")
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


def interpreter_is_too_old():
    """Before 3.7 it turned arrays into numbers in a way that NumPy 2.4 has given up."""
    old = [tuple(int(n) for n in version(name).split(".")[:2]) for name in ("triton", "numpy")]
    return old[0] < (3, 7) and old[1] >= (2, 4)


@needs_triton
@pytest.mark.parametrize("chosen", ["float32", pytest.param("not float32", marks=pytest.mark.slow)])
def test_the_kernels_obey_their_laws_in_the_interpreter(chosen):
    if interpreter_is_too_old():
        pytest.skip("Triton before 3.7 cannot interpret kernels with NumPy 2.4 or later")
    # Triton decides when a kernel is defined whether to interpret it: hence another process.
    program = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*program, str(HERE / "interpreted_laws.py"), "-k", chosen],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    # In the interpreter nothing waits for a card.
    assert "skipped" not in done.stdout


@given(
    block=st.integers(1, 300),
    num_blocks=st.integers(1, 40),
    itemsize=st.sampled_from([2, 4]),
    is_masked=st.booleans(),
)
def test_tiles_cover_every_unit_once_and_none_covers_two_groups(
    block, num_blocks, itemsize, is_masked
):
    width, blocks = block * num_blocks, num_blocks if is_masked else None
    single = gpu_plan.cut_blocks(width, num_blocks, itemsize)
    assert (single.merged, single.block) == (1, block)
    for cut in (
        gpu_plan.cut_inner(width, blocks, itemsize),
        gpu_plan.cut_outer(width, blocks, gpu_plan.OUTER_UNITS[itemsize]),
        single,
    ):
        assert cut.step >= gpu_plan.SMALLEST_TILE
        assert cut.step == gpu_plan.power_of_two(cut.step)
        assert cut.merged <= gpu_plan.MAX_MERGED
        covered = []
        for tile in range(cut.num_tiles):
            group, piece = divmod(tile, cut.pieces)
            start = group * cut.group + piece * cut.step
            end = min(start + cut.step, (group + 1) * cut.group, width)
            covered += range(start, end)
        assert covered == list(range(width))
        if is_masked:
            assert cut.block == block


@given(
    batch=st.integers(1, 20_000),
    block=st.integers(1, 300),
    itemsize=st.sampled_from([2, 4]),
    is_listed=st.booleans(),
)
def test_a_tile_fits_in_the_shared_memory_of_every_card(batch, block, itemsize, is_listed):
    inner = gpu_plan.cut_inner(block * 4, 4, itemsize)
    outer = gpu_plan.cut_outer(block * 4, 4, gpu_plan.OUTER_UNITS[itemsize])
    tile = gpu_plan.choose_tile(batch, inner, outer, itemsize, is_listed=is_listed)
    buffers = tile.stages // 2 if is_listed else tile.stages
    assert buffers >= 1
    size = itemsize * inner.step * (tile.rows + outer.step)
    assert buffers * size <= gpu_plan.SHARED_BYTES
    assert tile.rows == gpu_plan.power_of_two(tile.rows) >= gpu_plan.SMALLEST_TILE
    assert tile.rows == gpu_plan.SMALLEST_TILE or tile.rows <= batch


def test_float32_is_multiplied_as_torch_multiplies_it():
    matmul = torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision()
    try:
        for setting, precision in (("highest", "ieee"), ("high", "tf32"), ("medium", "tf32")):
            torch.set_float32_matmul_precision(setting)
            assert gpu_plan.product_precision(torch.float32) == precision
            assert gpu_plan.product_precision(torch.bfloat16) == "ieee"
        for allowed, precision in ((True, "tf32"), (False, "ieee")):
            matmul.allow_tf32 = allowed
            assert gpu_plan.product_precision(torch.float32) == precision
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_reason_is_given_where_triton_cannot_be_used(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    routes.reason_against.cache_clear()
    assert "float64" in routes.reason_against(CPU, torch.float64)
    if importlib.util.find_spec("triton") is not None:
        assert routes.reason_against(CPU, torch.float32) == "Triton needs a CUDA device"
    routes.reason_against.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert routes.reason_against(CPU, torch.float32) == "Triton is not installed"
    routes.reason_against.cache_clear()


@needs_triton
def test_a_kernel_that_does_not_compile_is_a_reason_and_no_error(monkeypatch):
    def broken(*args):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC.")

    monkeypatch.setattr("ccenv.annexes.sparse_gpu.layer.triton_linear", broken)
    reason = routes.error_of_trial(CPU, torch.float32)
    assert reason == "Triton cannot compile here: RuntimeError: Failed to find C compiler."


@pytest.mark.parametrize("module", [gpu_plan, routes])
def test_a_route_is_chosen_without_loading_triton(module, monkeypatch):
    # Importing it would fail.
    monkeypatch.setitem(sys.modules, "triton", None)
    runpy.run_path(module.__file__)


def route_of(batch, width=4096, dtype=torch.bfloat16, backend="auto", is_training=False):
    """The route on tensors without numbers: nobody can look at their masks."""
    x, weight = (torch.empty(rows, width, dtype=dtype, device="meta") for rows in (batch, width))
    return routes.gpu_route(x, weight, backend, is_training=is_training)


@pytest.fixture
def _takes_all(monkeypatch):
    monkeypatch.setattr(routes, "triton_takes", lambda device, dtype: True)


@pytest.mark.usefixtures("_takes_all")
def test_a_route_is_chosen_by_shape_and_can_be_forced():
    assert route_of(256, backend="gpu") == "triton"
    assert route_of(256, dtype=torch.float32) == "triton"
    assert route_of(128, 640, torch.float32, is_training=True) == "masked_dense"
    # Few rows of a small layer: reading its weights costs nothing, starting kernels does.
    assert route_of(8, 640, is_training=True) == "masked_dense"
    assert route_of(8, 640) == "triton"


@pytest.mark.usefixtures("_takes_all")
@given(
    st.integers(gpu_plan.VECTOR_ROWS + 1, 1 << 16), st.sampled_from([64, 640, 4096]), st.booleans()
)
def test_more_rows_never_lead_from_kernels_back_to_a_dense_product(batch, width, is_training):
    found = [route_of(rows, width, is_training=is_training) for rows in (batch, 2 * batch)]
    assert found != ["triton", "masked_dense"]


def test_where_triton_cannot_run_torch_multiplies(monkeypatch):
    monkeypatch.setattr(routes, "triton_takes", lambda device, dtype: False)
    for backend in ("auto", "gpu"):
        assert route_of(256, backend=backend) == "grouped"


def test_older_cards_are_slower(monkeypatch):
    x, device = torch.empty(1, 1, device="meta", dtype=torch.bfloat16), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    routes.speed_of.cache_clear()
    assert routes.speed_of(device) < 1 == routes.speed_of(x.device)
    routes.speed_of.cache_clear()
