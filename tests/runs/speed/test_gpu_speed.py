"""Laws of the GPU kernels' benchmark, on the CPU: what is billed is what would be executed."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from ccenv.runs.commands import benchmark
from ccenv.runs.lab import tables
from ccenv.runs.speed import gpu

TINY = gpu.GpuLayer(16, 0.5, is_training=False, is_captured=False, width=64, num_blocks=4)


@pytest.fixture(autouse=True)
def _few_passes(monkeypatch):
    monkeypatch.setattr(gpu, "PASSES", 8)


@pytest.mark.parametrize("is_training", [False, True])
def test_executed_macs_are_those_of_the_pairs_that_are_kept(is_training):
    layer = replace(TINY, density=1.0, is_training=is_training)
    case = gpu.gpu_case(layer, device="cpu")
    assert case.macs == case.dense_macs
    assert case.dense_macs == gpu.PASSES * 16 * 64 * 64 * (3 if is_training else 1)
    assert case.densities == (1.0, 1.0)


@pytest.mark.parametrize("is_training", [False, True])
def test_a_case_is_timed_and_its_milliseconds_are_those_of_a_pass(is_training, monkeypatch):
    layer = replace(TINY, is_training=is_training)
    case = gpu.gpu_case(layer, device="cpu")
    whole = gpu.time_case(case, rounds=2)
    monkeypatch.setattr(gpu, "time_case", lambda case, rounds: whole)
    timing = gpu.measure_layer(layer, rounds=2, device="cpu")
    assert timing["route"] == "grouped"
    assert timing["asked"] == asdict(layer)
    assert timing["milliseconds"] * gpu.PASSES == pytest.approx(whole["milliseconds"])
    assert timing["limit"] == pytest.approx(1 / (case.densities[0] * case.densities[1]), rel=0.2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_the_benchmark_answers_in_one_line_and_leaves_nothing(tmp_path, capsys):
    asked = ["gpu", "--record", "--results-dir", str(tmp_path)]
    assert benchmark.main(asked) == 2
    told = "ccenv benchmark: nothing was measured: there is no CUDA device\n"
    assert capsys.readouterr().err == told
    assert not list(tmp_path.iterdir())


def test_the_benchmark_records_rows_and_machine(tmp_path, capsys, monkeypatch):
    # The processor plays the card: what is recorded has the same shape.
    on_card = gpu.measure_layer
    monkeypatch.setattr(gpu, "why_not_measured", lambda: None)
    monkeypatch.setattr(gpu, "card_facts", lambda: {"card": "none", "driver": "none"})
    monkeypatch.setattr(gpu, "measure_layer", lambda *args: on_card(*args, device="cpu"))
    monkeypatch.setattr(gpu, "QUICK", (TINY, replace(TINY, is_training=True)))
    folders = ["--results-dir", str(tmp_path), "--report-dir", str(tmp_path)]
    assert benchmark.main(["gpu", "--quick", "--record", *folders]) == 0
    found = json.loads((tmp_path / "gpu-speed.json").read_text())
    assert [row["asked"]["is_training"] for row in found["rows"]] == [False, True]
    assert found["machine"]["card"] == "none"
    assert "torch" in found["versions"]
    shown = capsys.readouterr().out
    assert "grouped" in shown
    assert tables.TABLES[found["kind"]](found["rows"]) in shown


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("is_captured", [False, True])
def test_a_case_runs_on_a_card(is_training, is_captured):
    layer = replace(TINY, batch=64, is_training=is_training, is_captured=is_captured)
    assert gpu.measure_layer(layer, rounds=2)["milliseconds"] > 0
    assert gpu.card_facts()["card"]
