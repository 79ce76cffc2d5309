"""Law of benchmarks: a quick one is shown, recorded with its machine, and its table made anew."""

import json

import pytest
from test_training_speed import SMALL

from ccenv.runs.lab import experiment, tables
from ccenv.runs.lab.__main__ import main
from ccenv.runs.lab.benchmarks import (
    environment,
    network_speed,
    training,
)
from ccenv.runs.lab.registry import experiments
from ccenv.runs.store.seal import SEAL, check_seal, without
from ccenv.sparse.cpu.codegen import compiled

RECORDED_AS = {
    "auto": "auto-cells",
    "environment": "environment-speed",
    "kernels": "kernel-speed",
    "networks": "network-speed",
    "training": "training-speed",
    "loads": "loads",
}


@pytest.mark.parametrize("what", RECORDED_AS)
def test_a_quick_benchmark_is_shown_and_recorded_with_its_machine(
    what, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(environment, "SIZES", (16,))
    monkeypatch.setattr(network_speed, "SECONDS", 0.001)
    monkeypatch.setattr(training, "all_trainings", lambda quick: [SMALL])
    folders = ["--results-dir", str(tmp_path), "--report-dir", str(tmp_path)]
    assert main([what, "--quick", "--repeats", "2", "--json", "--record", *folders]) == 0
    shown = json.loads(capsys.readouterr().out)
    (path,) = tmp_path.glob("*.json")
    # Machines with other vectors than most leave theirs under a name of its own.
    assert path.stem == RECORDED_AS[what] + ("" if compiled.WIDE else "-8-lanes")
    content = json.loads(path.read_text())
    assert without(check_seal(content, what), SEAL) == shown
    assert {"cpu", "cores", "threads", "load_average"} <= set(shown["machine"])
    made = tables.render(f"<!-- table: {path.stem} -->\n<!-- end -->", tmp_path)
    assert f"Measured on: {shown['machine']['cpu']}" in made
    assert len(made.splitlines()) > 4
    said = experiment.shown_text(experiments()[what], content, tmp_path)
    pictures = [one.name in said and one.stat().st_size > 1000 for one in tmp_path.glob("*.png")]
    assert pictures == [True] * (experiments()[what].figure is not None)
