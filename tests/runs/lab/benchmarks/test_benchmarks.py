"""Laws of the benchmarks: what is compared costs what it should, is recorded, and is shown."""

import json
from pathlib import Path
from unittest import mock

import pytest
import torch

from ccenv.base.clock import seconds_in_turns
from ccenv.base.files import SEAL, check_seal, without
from ccenv.base.seeding import stream
from ccenv.networks.core.count_macs import counted
from ccenv.networks.core.mlp import GatedMLP
from ccenv.runs.lab import experiment, tables
from ccenv.runs.lab.__main__ import main
from ccenv.runs.lab.benchmarks import auto, environment, kernels, network_speed, training
from ccenv.runs.lab.benchmarks.cases import time_case
from ccenv.runs.lab.benchmarks.kernels import GIVEN, STEPPED, TRAINED, cifar_case, mnist_case
from ccenv.runs.lab.benchmarks.masks import layer_case
from ccenv.runs.lab.benchmarks.subjects import QUICK, SUBJECTS
from ccenv.runs.lab.benchmarks.training import DENSE, KERNELS, MASKED, MaskedDenseMLP, Training
from ccenv.runs.lab.registry import experiments
from ccenv.sparse.cpu.codegen import compiled

ROOT = Path(__file__).parents[4]
RESULTS = ROOT / "runs/results"
SMALL = Training(
    name="condnet on digits",
    agent="condnet",
    settings={
        "env": "BlockSelection-v0",
        "reward": "negative_nll",
        "weights": "cotrain",
        "batch_size": 16,
    },
    gated={"num_blocks": (10, 8), "block_size": 8, "target_density": 0.25},
    dense={"num_blocks": (1,), "block_size": 32},
    start_density=0.25,
)
RECORDED_AS = {
    "auto": "auto-cells",
    "environment": "environment-speed",
    "kernels": "kernel-speed",
    "networks": "network-speed",
    "training": "training-speed",
    "loads": "loads",
}
CASES = {
    "layer": lambda: layer_case(1024, 32, 0.1, 16),
    "dense layer": lambda: layer_case(256, 8, 1.0, 16),
    "layer by class": lambda: layer_case(1024, 32, 0.05, 32, "by class"),
    "unbalanced layer": lambda: layer_case(1024, 32, 0.05, 32, "unbalanced"),
    "network": lambda: cifar_case(1 / 16, 16, STEPPED),
    "network, masks given": lambda: cifar_case(0.18, 1, GIVEN),
    "mnist": lambda: mnist_case(8, 256),
    "training step": lambda: cifar_case(1 / 16, 16, TRAINED),
}
LIGHT = [name for name, subject in SUBJECTS.items() if not subject.packages]


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


def test_functions_take_turns_each_warm_and_each_round_begins_with_another_one():
    calls = []
    passes = {name: lambda name=name: calls.append(name) for name in "abc"}
    found = seconds_in_turns(passes, rounds=4, seconds=0.0)
    assert {name: len(times) for name, times in found.items()} == {"a": 4, "b": 4, "c": 4}
    assert "".join(calls[-24:]) == "aabbccbbccaaccaabbaabbcc"


@pytest.mark.parametrize("name", CASES)
def test_baselines_have_the_executed_macs_or_compute_what_the_kernels_compute(name):
    case = CASES[name]()
    assert case.equal_macs == pytest.approx(case.macs, rel=0.06)
    assert case.equal_macs <= case.dense_macs
    if name == "training step":
        return
    dense, equal = case.dense(), case.equal_dense()
    # Of another case: both take the first masks of their pool.
    sparse, masked = case.sparse(), CASES[name]().masked_dense()
    torch.testing.assert_close(sparse, masked, rtol=1e-4, atol=1e-5)
    assert len(dense) == len(equal) == len(sparse)


def test_executed_macs_are_those_worked_out_by_hand_and_a_limit_is_their_ratio():
    network = GatedMLP(3072, (10, 10), 64)
    masks = [torch.zeros(1, 10, dtype=torch.bool) for _ in range(2)]
    masks[0][0, 0] = masks[1][0, :2] = True
    expected = 3072 * 64 + 64 * 128 + 128 * 10
    assert kernels.executed_macs(network, [masks]) == expected
    # Images need no gradient: the first layer is multiplied twice, the others three times.
    assert kernels.executed_macs(network, [masks], training=True) == 3 * expected - 3072 * 64
    looking, given = (cifar_case(0.5, 2, way) for way in (STEPPED, GIVEN))
    assert looking.macs - given.macs == 2 * 10 * (3072 + 640)
    found = time_case(layer_case(64, 4, 1.0, batch=4), rounds=3)
    assert found["limit"] == found["equal_macs"] == 1.0
    assert found["densities"] == (1.0, 1.0)


def test_the_fit_of_auto_finds_the_number_that_times_were_made_by():
    rows = json.loads((RESULTS / "auto-cells.json").read_text())["rows"]
    made = [row for row in rows if auto.has_choice(row)]
    with mock.patch.object(auto.routes, "EDGE", 16):
        for row in made:
            is_kernels = auto.chosen_seconds(
                row | {"kernels_seconds": 0, "masked_dense_seconds": 1}
            )
            row |= {"kernels_seconds": 1 + is_kernels, "masked_dense_seconds": 2 - is_kernels}
    assert auto.fitted(made, (8, 16, 32)) == 16


@pytest.mark.parametrize("name", [*LIGHT, *QUICK])
def test_the_plain_module_costs_what_the_network_does_with_everything_kept(name):
    subject = (SUBJECTS | QUICK)[name]
    network, inputs = subject.build(), subject.inputs(1, stream(0, "test"))
    plain = counted(subject.plain(network).eval(), inputs)[0]
    # Experts also read the first answers, which have a small output layer of their own.
    assert plain == pytest.approx(network.dense_macs, rel=0.02)


def test_agents_of_all_routes_train_on_the_same_images_and_only_the_network_differs():
    agents = training.make_agents(SMALL)
    assert list(agents) == [KERNELS, MASKED, DENSE]
    networks = [agent.simulator.network for agent in agents.values()]
    assert [type(n) for n in networks] == [GatedMLP, MaskedDenseMLP, GatedMLP]
    for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(a, b)
    images = torch.rand(8, 64)
    masks = [torch.rand(8, n, generator=torch.Generator().manual_seed(0)) < 0.5 for n in (10, 8)]
    torch.testing.assert_close(networks[0](images, masks), networks[1](images, masks))
    for agent in agents.values():
        assert agent.learn(1) == 16
    orders = [agent.simulator.indices for agent in agents.values()]
    assert all(torch.equal(order, orders[0]) for order in orders)


def test_where_data_are_absent_one_line_says_how_to_get_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CCENV_DATA", str(tmp_path))
    assert main(["training", "--quick"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "ccenv data mnist --download" in said


CASE = "forward, batch 1, density 0.05"


def test_a_checkout_beside_itself_is_timed_recorded_and_shown(tmp_path, capsys):
    words = ["--rounds", "2", "--cases", CASE, "--record", "--results-dir", str(tmp_path)]
    assert main(["checkouts", str(ROOT), *words]) == 0
    shown = capsys.readouterr().out
    rows = json.loads((tmp_path / "checkouts.json").read_text())["rows"]
    assert [row["case"] for row in rows] == [CASE]
    assert min(rows[0]["gain"], rows[0]["before"], rows[0]["now"]) > 0
    made = tables.render("<!-- table: checkouts -->\n<!-- end -->", tmp_path)
    assert made.split("\n")[1] in shown


@pytest.mark.parametrize(
    ("folder", "words", "said"),
    [
        (ROOT, ["--cases", "nothing"], "expected parts of"),
        (ROOT, ["--rounds", "1"], "two rounds"),
        (ROOT / "runs", [], "expected a checkout of ccenv, got"),
    ],
)
def test_what_cannot_be_timed_is_refused(folder, words, said, capsys):
    assert main(["checkouts", str(folder), *words]) == 2
    assert said in capsys.readouterr().err
