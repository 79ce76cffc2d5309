"""Laws of runs of every kind: trained, exported where that can be, and found again by a replay."""

import functools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch

from ccenv.annexes.deploy import latency
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.simulator.context import read_context
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.base.checked_file import read_checked, write_checked
from ccenv.base.files import sealed
from ccenv.data import load_split
from ccenv.networks.vision.residual import resnet
from ccenv.runs.api import Run
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine import run
from ccenv.runs.engine.metadata import NUM_VALUES, values_over
from ccenv.runs.engine.prepare import Options
from ccenv.runs.replay.verdicts import validate
from ccenv.runs.stats.cost_points import make_point
from ccenv.runs.stats.rows import make_rows
from ccenv.runs.store.folder import RESULT

SHORT = {"images": 128, "batch_size": 64, "latency": True}
DIGITS = {"dataset": "digits", "weights": "cotrain"}
MLP = DIGITS | {"num_blocks": (4, 4), "block_size": 4}
RIVAL = DIGITS | {"weights_kwargs": {"schedule_updates": "run"}}
LAYER_INPUT = DIGITS | {"observation": "layer_input"}
RESNET = DIGITS | {"network": "resnet", "network_kwargs": {"depth": 8, "width": 4}}
# Probes have weights of their own: frozen, and nobody waits until they are learned.
PROBE = {"dataset": "probe", "weights": "frozen"}
PRICES = {"cost_weight": (0.05, 5)}
COTRAIN = {"weights": "cotrain"}


def sized(network, **sizes):
    return {"network": network, "network_kwargs": sizes}


KINDS = {
    "resnet": ("reinforce", RESNET),
    "probe-exit": ("reinforce", PROBE | {"network": "probe-exit"}),
    "an own observation": ("reinforce", RESNET | {"observation": "test_kind_runs:brightness"}),
    "an own network": (
        "reinforce",
        sized("test_kind_runs:own_resnet", width=2) | {"dataset": "digits", "weights": "frozen"},
    ),
    "pruned": ("dense", RIVAL | sized("pruned", units=16, macs=200)),
    "early_exit": (
        "confidence",
        RIVAL | sized("early_exit", units=(8, 8, 8)) | {"stop_shares": (0.5, 0.2)},
    ),
    "noisy_topk": ("noisy_topk", LAYER_INPUT | sized("experts", num_experts=4, expert_size=4)),
    "act": ("act", LAYER_INPUT | sized("pondering", units=8, num_steps=3)),
    "prices": ("reinforce", PROBE_SETTINGS | {"context": PRICES}),
    "budgets": ("sb3_ppo", PROBE_SETTINGS | {"context": {"budget": (0.2, 0.8)}}),
    "prices and one trace": (
        "actor_critic",
        MLP | {"oblivious": "all", "context": {"cost_weight": (0.1, 10)}},
    ),
    "slots": ("reinforce", MLP | {"oblivious": 3}),
    "bfloat16": ("reinforce", PROBE_SETTINGS | {"dtype": "bfloat16"}),
    "bfloat16, co-trained": ("reinforce", PROBE_SETTINGS | COTRAIN | {"dtype": "bfloat16"}),
    "positions of a text": (
        "rloo",
        sized("lm", width=8, num_heads=2, ffn_width=4, num_experts=4)
        | {"dataset": "book@8", "weights": "cotrain", "observation": "symbols"}
        | {"embedding_size": "one_hot", "group_size": 2, "num_kept": 1},
    ),
    "over sequences": (
        "reinforce",
        {"dataset": "staleness", "network": "staleness", "episode": "sequence"}
        | {"reward": "probability_minus_cost", "latency": False},
    ),
    "between gates": (
        "dynamic_gate",
        MLP | {"num_kept": 2, "concurrent": "unsafe", "images": 2560, "batch_size": 16},
    ),
}


@dataclass(frozen=True)
class Timed:
    batch_size: int
    milliseconds: float = 1.0
    speedup: float = 1.0


HIDDEN = ("prices and one trace", "slots", "over sequences")
"""Kinds whose blocks tell nothing, or that answer with a sequence: neither timed nor exported."""


def brightness(network, state):
    """The mean of the input, and at later gates its spread too."""
    pixels = state.images_by_row.flatten(1)
    columns = [pixels.mean(dim=1), pixels.std(dim=1)][: 1 + (state.layer > 0)]
    return torch.stack(columns, dim=1)


def own_resnet(input_shape, num_classes, width=4):
    network = resnet(input_shape, num_classes, depth=8, width=width)
    network.has_own_weights = True
    return network


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Carries a kind out once for all tests: its name -> the run's folder and result."""
    place = tmp_path_factory.mktemp("kinds")
    (place / "book.txt").write_bytes(b"abcdefgh\n" * 200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCENV_DATA", str(place))
        patch.setattr(latency, "measure_latency", lambda env, agent, size: Timed(size))

        @functools.cache
        def carry_out(kind):
            agent, settings = KINDS[kind]
            plan = make_plan(agent, SHORT | settings | {"log_dir": str(place / "logs")})
            result = run.run(plan, options=Options(export=True))
            return Path(result["folder"]), result

        yield carry_out


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_every_kind_stands_and_leaves_a_classifier_where_something_is_skipped(
    kind, trained
):
    folder, result = trained(kind)
    rows = validate(folder, ["test_kind_runs"])
    assert [row.problems for row in rows] == [(), ()]
    assert {row.policy for row in rows} == {"replayed"}
    assert rows[0].basis["memory_bytes"] == "recomputed"
    assert result["latency"] == ([] if kind in HIDDEN else [asdict(Timed(1)), asdict(Timed(256))])
    file = folder / "checkpoint" / "classifier.safetensors"
    if kind in HIDDEN:
        assert not file.exists()
        return
    classifier = SkippingClassifier.load(file, trust=["test_kind_runs"])
    images, _ = load_split(result["settings"]["environment"]["dataset"], "test").batch(
        torch.arange(5)
    )
    context = {"prices": {"cost_weight": 1.0}, "budgets": {"budget": 0.5}}
    assert len(classifier(images, **context.get(kind, {}))) == 5


def test_what_is_looked_at_and_a_network_are_named_with_their_code_and_cost(trained):
    _, result = trained("an own observation")
    assert result["policy_macs"] == [1, 2, 2]
    assert "test_kind_runs:brightness" in result["code"]
    assert "test_kind_runs:own_resnet" in trained("an own network")[1]["code"]


def test_a_run_is_judged_at_a_grid_of_prices_with_a_line_for_each(trained):
    _, result = trained("prices")
    verdicts = result["context"]["cost_weight"]
    assert [at["value"] for at in verdicts] == values_over(read_context(PRICES)["cost_weight"])
    assert {at["split"] for at in verdicts} == {"test"}
    lines = Run(result).summary.splitlines()
    assert len(lines) == 3 + NUM_VALUES
    assert lines[2].startswith("cost_weight 0.05: test error ")
    assert "context" not in trained("resnet")[1]
    assert values_over(read_context({"budget": 0.3})["budget"]) == [0.3]


def test_a_budget_is_kept_at_every_point_of_the_grid(trained):
    verdicts = trained("budgets")[1]["context"]["budget"]
    assert all(at["compute_cost"] <= at["value"] for at in verdicts)


def test_oblivious_runs_touch_their_slots(trained):
    _, result = trained("slots")
    assert result["evaluations"][0]["density"] == [0.75, 0.75]
    _, result = trained("prices and one trace")
    assert result["evaluations"][0]["compute_cost"] == 1
    returns = [at["mean_return"] for at in result["context"]["cost_weight"]]
    assert returns == sorted(returns, reverse=True)


def test_memory_is_recorded_checked_and_missing_in_older_results(trained):
    folder, result = trained("pruned")
    kept = (folder / RESULT).read_text()
    assert result["memory_bytes"] < 4 * result["network_parameters"]
    assert make_rows({"pruned": [result]})[0].memory_bytes == result["memory_bytes"]
    chosen = result | {"num_parameters": 10}
    assert make_rows({"rloo": [chosen]})[0].memory_bytes == result["memory_bytes"] + 40
    assert make_point("rloo", [chosen], False).memory == result["memory_bytes"] + 40
    older = {name: value for name, value in json.loads(kept).items() if name != "memory_bytes"}
    assert make_rows({"pruned": [older, result]})[0].memory_bytes is None
    try:
        (folder / RESULT).write_text(json.dumps(sealed(older)))
        assert not validate(folder)[0].problems
        (folder / RESULT).write_text(json.dumps(sealed(older | {"memory_bytes": 3})))
        assert "memory_bytes: claimed 3" in validate(folder)[0].problems[0]
    finally:
        (folder / RESULT).write_text(kept)


def test_a_weight_that_several_steps_read_is_counted_once_and_earlier_results_stand(trained):
    folder, result = trained("act")
    kept = (folder / RESULT).read_text()
    # First step, cell, and the answer of all steps: 64 pixels, 8 units, 10 classes.
    assert result["network_parameters"] == (8 * 64 + 8 + 8) + 8 * 8 + (8 * 10 + 10)
    assert result["memory_bytes"] == 4 * result["network_parameters"]
    counts = {"network_parameters": 926, "memory_bytes": 4 * 926}
    try:
        (folder / RESULT).write_text(json.dumps(sealed(json.loads(kept) | counts)))
        assert not validate(folder)[0].problems
    finally:
        (folder / RESULT).write_text(kept)


def moved(tensors):
    """Values moved where a block is kept, so that masks stay as they are."""
    return {
        name: torch.where(value > 0, 0.9 * value + 0.05, 0) if "values" in name else value
        for name, value in tensors.items()
    }


def left_out(tensors):
    return {name: value for name, value in tensors.items() if "values" not in name}


def zeroed(tensors):
    return {name: value * ("values" not in name) for name, value in tensors.items()}


@pytest.mark.parametrize("agent", ["noisy_topk", "act"])
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (moved, "other gate values"),
        (left_out, "expected gate values of"),
        (zeroed, "other gate values"),
    ],
)
def test_runs_of_gate_values_fall_without_them(agent, change, problem, trained):
    folder, _ = trained(agent)
    path = folder / "checkpoint" / "masks.safetensors"
    kept = path.read_bytes()
    try:
        write_checked(path, change(read_checked(path)[0]), {})
        assert all(problem in " ".join(row.problems) for row in validate(folder))
    finally:
        path.write_bytes(kept)
