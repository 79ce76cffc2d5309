"""The GPU's route without a GPU: its laws in Triton's interpreter, its plans, and its excuses."""

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.sparse.gpu import dispatch as gpu
from ccenv.sparse.gpu import plan as gpu_plan

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


def interpreter_is_too_old():
    """Before 3.7 it turned arrays into numbers in a way that NumPy 2.4 has given up."""
    old = [tuple(int(n) for n in version(name).split(".")[:2]) for name in ("triton", "numpy")]
    return old[0] < (3, 7) and old[1] >= (2, 4)


@needs_triton
@pytest.mark.parametrize(
    ("laws", "dtypes"),
    [
        ("interpreted_laws.py", "dtype0"),
        pytest.param("interpreted_laws.py", "not dtype0", marks=pytest.mark.slow),
        ("interpreted_routes.py", "dtype0"),
        pytest.param("interpreted_routes.py", "not dtype0", marks=pytest.mark.slow),
    ],
)
def test_the_kernels_obey_their_laws_in_the_interpreter(laws, dtypes):
    if interpreter_is_too_old():
        pytest.skip("Triton before 3.7 cannot interpret kernels with NumPy 2.4 or later")
    # Triton decides when a kernel is defined whether to interpret it: hence another process.
    program = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*program, str(HERE / laws), "-k", dtypes],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
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
    for cut in (
        gpu_plan.cut_inner(width, blocks, itemsize),
        gpu_plan.cut_outer(width, blocks, gpu_plan.OUTER_UNITS[itemsize]),
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


def test_float32_is_multiplied_as_torch_multiplies_it(monkeypatch):
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
    gpu.reason_against.cache_clear()
    assert "float64" in gpu.why_not(torch.zeros(1, dtype=torch.float64))
    if importlib.util.find_spec("triton") is not None:
        assert gpu.why_not(torch.zeros(1)) == "Triton needs a CUDA device"
    gpu.reason_against.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert gpu.why_not(torch.zeros(1)) == "Triton is not installed"
    gpu.reason_against.cache_clear()


@needs_triton
def test_a_kernel_that_does_not_compile_is_a_reason_and_no_error(monkeypatch):
    def broken(*args):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC.")

    monkeypatch.setattr(gpu, "triton_linear", broken)
    reason = gpu.error_of_trial(torch.device("cpu"), torch.float32)
    assert reason == "Triton cannot compile here: RuntimeError: Failed to find C compiler."


def test_the_door_does_not_load_triton():
    program = "import sys, ccenv.sparse.gpu.dispatch; print('triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False"
