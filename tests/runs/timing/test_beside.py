"""Laws of timing two checkouts in one process: each runs its own modules, nothing stays behind."""

import json
import sys
from pathlib import Path

import pytest
import torch
from gymnasium.envs.registration import registry

import ccenv
from ccenv.base.seeding import stream
from ccenv.networks.gating import gated_module
from ccenv.runs import benchmark, tables
from ccenv.runs.engine.stops import CannotStartError
from ccenv.runs.timing import beside
from ccenv.sparse import linear

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def there():
    return beside.other_side(ROOT)


def test_the_other_side_has_modules_of_its_own_while_it_is_active(there):
    before = list(sys.path)
    for _ in range(2):
        with there.active():
            from ccenv.sparse import linear as other

            assert other is not linear
            assert sys.modules["ccenv.sparse.linear"] is other
        assert sys.modules["ccenv.sparse.linear"] is linear
    assert sys.modules["ccenv"] is ccenv
    assert sys.path == before


def test_environments_stay_todays():
    found = registry["BlockSelection-v0"]
    beside.other_side(ROOT)
    assert registry["BlockSelection-v0"] is found


def test_what_fails_on_the_other_side_leaves_todays_modules(there):
    with pytest.raises(RuntimeError), there.active():
        raise RuntimeError
    assert sys.modules["ccenv.networks.gating.gated_module"] is gated_module


def test_a_checkout_beside_itself_multiplies_alike(there):
    with there.active():
        from ccenv.sparse.linear import block_sparse_linear as other
    x, weight = (torch.randn(8, 32, generator=stream(0, name)) for name in ("x", "w"))
    masks = [torch.rand(8, 4, generator=stream(0, name)) < 0.5 for name in ("in", "out")]
    with there.active():
        found = other(x, weight, None, *masks, backend="cpu")
    assert torch.equal(found, linear.block_sparse_linear(x, weight, None, *masks, backend="cpu"))


def test_cases_are_timed_in_turns_recorded_and_shown(tmp_path):
    words = ["kernels", "--quick", "--repeats", "2", "--record", "--results-dir", str(tmp_path)]
    assert benchmark.main([*words, "--beside", str(ROOT)]) == 0
    (path,) = tmp_path.glob("kernel-speed-beside*.json")
    rows = json.loads(path.read_text())["rows"]
    assert [row["batch"] for row in rows] == [8, 8, 32, 32, 32, 4]
    assert all(row["before"] > 0 and row["now"] > 0 and row["gain"] > 0 for row in rows)
    shown = tables.render(f"<!-- table: {path.stem} -->\n<!-- end -->", tmp_path)
    assert shown.count("256 to 256") == 5


def test_a_folder_without_a_checkout_is_refused(tmp_path, capsys):
    assert benchmark.main(["kernels", "--beside", str(tmp_path)]) != 0
    assert f"expected a checkout of ccenv in {tmp_path}" in capsys.readouterr().err


def test_a_checkout_without_cases_is_refused(tmp_path):
    package = tmp_path / "ccenv"
    package.mkdir()
    (package / "__init__.py").write_text("")
    with pytest.raises(CannotStartError, match="expected kernels and their cases"):
        next(beside.measured(tmp_path, quick=True, rounds=2))
    assert sys.modules["ccenv"] is ccenv


def test_it_is_for_kernels_alone(capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["layouts", "--beside", str(ROOT)])
    assert "expected kernels on the CPU with --beside, got layouts" in capsys.readouterr().err
