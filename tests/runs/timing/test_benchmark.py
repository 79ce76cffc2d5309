"""Laws of `ccenv.runs.benchmark`: every view walks the same images, and ratios are read right."""

import json

import numpy as np
import pytest
import torch

from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.runs import benchmark
from ccenv.runs.timing import speed
from ccenv.sparse.cpu.codegen import registers


def test_the_environment_gives_the_bare_networks_answers():
    network, masks = speed.make_network(), speed.draw_masks(32, density=0.25)
    images, labels = speed.noise("train").batch(torch.arange(32))
    env = BlockSelectionVectorEnv(32, dataset=speed.noise, network=network)
    env.reset(seed=0, options={"indices": np.arange(32)})
    for mask in masks:
        *_, info = env.step(mask.numpy())
    with torch.no_grad():
        logits = network(images, masks)
    assert (info["final_info"]["prediction"] == logits.argmax(dim=1).numpy()).all()
    assert (info["final_info"]["label"] == labels.numpy()).all()


def test_a_ratio_compares_neighbouring_timings():
    found = speed.speed(
        "x", num_images=10, times=[2.0, 4.0, 20.0], bare=[1.0, 2.0, 10.0], dense=[2.0] * 3
    )
    assert found.ratio == found.ratio_low == found.ratio_high == 0.5
    assert found.dense_ratio == 0.5
    assert found.images_per_second == 2.5
    assert found.steps_per_second == 5.0


def test_a_missed_target_is_named():
    rows = [
        {"view": view, "num_images": 256, "ratio": ratio, "images_per_second": rate}
        for view, ratio, rate in (
            ("vector_env", 0.95, 1000.0),
            ("sb3_vec_env", 0.5, 900.0),
            ("dummy_vec_env", 0.01, 99.0),
        )
    ]
    missed = speed.misses(rows)
    assert [line.split(",")[0] for line in missed] == ["sb3_vec_env", "sb3_vec_env"]
    assert "target 0.7" in missed[0]
    assert "9.1 times DummyVecEnv" in missed[1]


@pytest.fixture
def _small(monkeypatch):
    monkeypatch.setattr(benchmark, "SIZES", (16,))
    monkeypatch.setattr(benchmark, "SINGLE_SIZES", (16,))


@pytest.mark.usefixtures("_small")
def test_a_quick_benchmark_measures_every_view_and_says_on_what(tmp_path, capsys):
    arguments = ["--quick", "--json", "--record", "--results-dir", str(tmp_path)]
    assert benchmark.main(arguments) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["view"] for row in shown["rows"]] == ["network", "dense_network", *speed.VIEWS]
    assert all(row["images_per_second"] > 0 for row in shown["rows"])
    assert {"cpu", "cores", "threads", "load_average"} <= set(shown["machine"])
    # Machines with other vectors than most leave theirs under a name of its own.
    expected = "environment-speed" if registers.WIDE else "environment-speed-8-lanes"
    assert shown["name"] == expected
    assert json.loads((tmp_path / f"{expected}.json").read_text()) == shown
