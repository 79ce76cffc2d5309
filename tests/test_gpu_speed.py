"""Laws of the GPU kernels' benchmark, on the CPU: what is billed is what would be executed."""

from dataclasses import replace

import pytest
import torch

from runs.timing import gpu_speed

TINY = gpu_speed.GpuLayer(16, 0.5, is_training=False, is_captured=False, width=64, num_blocks=4)


def test_the_cases_are_those_of_the_issue_eager_and_captured():
    assert {case.batch for case in gpu_speed.CASES} == {128, 512, 8192}
    assert {case.density for case in gpu_speed.CASES} == {1 / 8, 1 / 16}
    assert {(case.width, case.num_blocks) for case in gpu_speed.CASES} == {(4096, 64)}
    assert len({case.name for case in gpu_speed.CASES}) == 4
    assert len(set(gpu_speed.CASES)) == 2 * 2 * 3 * 2


@pytest.mark.parametrize("is_training", [False, True])
def test_executed_macs_are_those_of_the_pairs_that_are_kept(is_training):
    layer = replace(TINY, density=1.0, is_training=is_training)
    case = gpu_speed.layer_case(layer, device="cpu", kernel=gpu_speed.masked_linear)
    assert case.macs == case.dense_macs == case.equal_macs
    assert case.dense_macs == gpu_speed.PASSES * 16 * 64 * 64 * (3 if is_training else 1)
    assert case.densities == (1.0, 1.0)


@pytest.mark.parametrize("is_training", [False, True])
def test_a_case_is_timed_and_its_milliseconds_are_those_of_a_pass(is_training, monkeypatch):
    layer = replace(TINY, is_training=is_training)
    case = gpu_speed.layer_case(layer, device="cpu", kernel=gpu_speed.masked_linear)
    whole = gpu_speed.measure(case, repeats=2)
    monkeypatch.setattr(gpu_speed, "measure", lambda case, repeats: whole)
    timing = gpu_speed.measure_layer(case, repeats=2)
    assert timing.milliseconds * gpu_speed.PASSES == pytest.approx(whole.milliseconds)
    assert timing.limit == pytest.approx(1 / (case.densities[0] * case.densities[1]), rel=0.2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_the_reason_is_given():
    assert gpu_speed.why_not_measured() == "there is no CUDA device"
    with pytest.raises(RuntimeError, match="no CUDA device"):
        next(gpu_speed.gpu_cases(repeats=2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("is_captured", [False, True])
def test_a_case_runs_on_a_card(is_training, is_captured):
    layer = replace(TINY, batch=64, is_training=is_training, is_captured=is_captured)
    assert gpu_speed.measure_layer(gpu_speed.layer_case(layer), repeats=2).milliseconds > 0
    assert gpu_speed.card()["card"]
