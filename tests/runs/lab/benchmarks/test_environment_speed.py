"""Laws of the experiment `environment`: views walk the same images, ratios are read right."""

import numpy as np
import torch

from ccenv.base.clock import seconds_in_turns
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.runs.lab.benchmarks import environment


def test_the_environment_gives_the_bare_networks_answers():
    network, masks = environment.make_network(), environment.draw_masks(32)
    images, labels = environment.noise("train").batch(torch.arange(32))
    env = BlockSelectionVectorEnv(32, dataset=environment.noise, network=network)
    env.reset(seed=0, options={"indices": np.arange(32)})
    for mask in masks:
        *_, info = env.step(mask.numpy())
    with torch.no_grad():
        logits = network(images, masks)
    assert (info["final_info"]["prediction"] == logits.argmax(dim=1).numpy()).all()
    assert (info["final_info"]["label"] == labels.numpy()).all()


def test_a_ratio_compares_neighbouring_timings():
    times = {"network": [1.0, 2.0, 10.0], "dense_network": [2.0] * 3, "x": [2.0, 4.0, 20.0]}
    *_, found = environment.speeds(10, times)
    assert found["ratio"] == found["ratio_low"] == found["ratio_high"] == 0.5
    assert found["dense_ratio"] == 0.5
    assert found["images_per_second"] == 2.5
    assert found["steps_per_second"] == 5.0


def test_functions_take_turns_each_warm_and_each_round_begins_with_another_one():
    calls = []
    passes = {name: lambda name=name: calls.append(name) for name in "abc"}
    found = seconds_in_turns(passes, rounds=4, seconds=0.0)
    assert {name: len(times) for name, times in found.items()} == {"a": 4, "b": 4, "c": 4}
    assert "".join(calls[-24:]) == "aabbccbbccaaccaabbaabbcc"


def test_no_more_rows_are_advised_than_nearly_the_best_rate_needs():
    rates = {256: 50.0, 1024: 95.0, 4096: 100.0}
    rows = [
        {"view": "vector_env", "num_images": n, "images_per_second": r} for n, r in rates.items()
    ]
    assert environment.advice(rows) == [
        "vector_env: num_envs=1024 is enough on this machine (95% of the best rate)"
    ]
    assert environment.advice(rows[:1]) == []
