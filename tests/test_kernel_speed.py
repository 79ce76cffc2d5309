"""Laws of the kernels' benchmark: what is billed is what was executed, and every case runs."""

import json

import pytest
import torch

from ccenv.networks import GatedMLP
from runs import benchmark, kernel_speed


def test_executed_macs_of_the_papers_network_are_those_worked_out_by_hand():
    network = GatedMLP(3072, (10, 10), 64)
    masks = [torch.zeros(1, 10, dtype=torch.bool) for _ in range(2)]
    masks[0][0, 0] = masks[1][0, :2] = True
    expected = 3072 * 64 + 64 * 128 + 128 * 10
    assert kernel_speed.network_macs(network, [masks]) == expected


def test_the_limit_is_dense_macs_over_executed_ones():
    found = kernel_speed.layer_timing(64, 4, 1.0, batch=4, repeats=3)
    assert found.limit == 1.0
    assert found.density == 1.0


@pytest.mark.parametrize("training", [False, True])
def test_the_papers_network_is_timed_with_its_policies(training):
    found = kernel_speed.cifar_timing(0.5, batch=2, repeats=3, training=training)
    assert found.milliseconds > 0
    assert 1 < found.limit < 10


def test_the_mnist_network_is_limited_by_the_macs_of_the_trial():
    found = kernel_speed.mnist_timing(batch=2, repeats=3, dense_units=256)
    assert found.limit == pytest.approx(203_264 / 14_272)


def test_a_quick_benchmark_of_the_kernels_is_shown_drawn_and_recorded(tmp_path, capsys):
    folders = ["--results-dir", str(tmp_path), "--report-dir", str(tmp_path)]
    assert benchmark.main(["kernels", "--quick", "--record", *folders]) == 0
    assert "speed-up" in capsys.readouterr().out
    recorded = json.loads((tmp_path / "kernel-speed.json").read_text())
    assert recorded["rows"][0]["speedup"] > 0
    assert (tmp_path / "kernel-speed.png").stat().st_size > 1000
