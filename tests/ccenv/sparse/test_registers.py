"""Panels are as large as the machine's registers allow; those of other machines are right too."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ccenv.sparse.cpu.codegen import compiled
from tests.ccenv.annexes.deploy import test_fused
from tests.ccenv.sparse import test_kernels, test_sparse

LAWS = [test_kernels, test_sparse, test_fused]


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("", False),
        ("+avx,+avx2,+fma", False),
        ("+avx512f,+avx512bw", True),
        ("+avx2,-avx512f", False),
        ("+avx512f,-avx512f", False),
        ("+avx512bw", False),
    ],
)
def test_vectors_of_16_floats_are_for_machines_that_have_them(features, expected):
    assert compiled.has_avx512(features) is expected


@pytest.mark.slow
def test_the_kernels_laws_hold_with_the_panels_of_the_other_kind_of_machine(tmp_path):
    root = Path(__file__).parents[3]
    ignored = shutil.ignore_patterns("__pycache__", "results", "logs", "reports")
    # Links to the folders beside it become folders.
    shutil.copytree(root / "ccenv", tmp_path / "ccenv", ignore=ignored)
    shutil.copy(root / "tests" / "conftest.py", tmp_path / "conftest.py")
    file = tmp_path / "ccenv/sparse/cpu/codegen/compiled.py"
    text = file.read_text()
    other = text.replace("\nWIDE = has_avx512(", "\nWIDE = not has_avx512(")
    assert other != text
    file.write_text(other)
    shutil.copy(Path(__file__).parent / "sparse_layers.py", tmp_path)
    names = [Path(shutil.copy(law.__file__, tmp_path)).name for law in LAWS]
    checked = (
        "import ccenv.sparse.cpu.codegen.compiled as r, sys; "
        f"sys.exit(r.WIDE is {compiled.WIDE} or not r.__file__.startswith({str(tmp_path)!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path)}
    for command in (["-c", checked], ["-m", "pytest", "-q", "-p", "no:cacheprovider", *names]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
