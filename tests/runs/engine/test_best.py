"""Laws of early stopping: what is judged on test images had the fewest validation errors."""

import copy
import functools

import pytest
import torch
from safetensors.torch import load_file

from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.runs.commands import validate
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine import run
from ccenv.runs.engine.errors import CannotStartError
from ccenv.runs.engine.listener import Best
from ccenv.runs.replay.claims import check_curve
from ccenv.runs.store import folder as run_folder

BATCH = 64
# A network whose rate is far too large, and a policy that learns from it.
SETTINGS = PROBE_SETTINGS | {
    "batch_size": BATCH,
    "eval_every": BATCH,
    "reward": "negative_nll",
    # A bonus fades by the images of the whole run.
    "entropy_weight": 0.0,
    "dataset": "synthetic",
    "network": "mlp",
    "num_blocks": (3,),
    "weights": "cotrain",
    "weights_kwargs": {"learning_rate": 1.0, "optimizer": "sgd"},
    "latency": False,
}


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory):
    """Carries out each run once for all tests: (updates, whether the best is kept)."""
    place = tmp_path_factory.mktemp("best")

    @functools.cache
    def carry_out(updates=12, keep_best=False):
        given = {"images": updates * BATCH, "keep_best": keep_best, "log_dir": str(place)}
        return run.run(make_plan("reinforce", SETTINGS | given))

    return carry_out


def validation_of(result, mode):
    found = {(e["split"], e["mode"]): e for e in result["evaluations"]}
    return found["validation", mode]


def tensors(result, name):
    return load_file(f"{result['folder']}/{run_folder.CHECKPOINT}/{name}.safetensors")


def test_what_is_left_is_what_the_best_validation_judged(carried_out):
    found = carried_out(keep_best=True)
    last = carried_out()
    assert found["curve"] == last["curve"]
    assert "kept_at" not in last
    best = min(found["curve"], key=lambda point: point["error"])
    assert found["kept_at"] == best["images_seen"] < 12 * BATCH
    assert validation_of(found, "sampled")["error"] == best["error"]
    assert validation_of(last, "sampled")["error"] == last["curve"][-1]["error"] >= best["error"]


def test_it_is_what_a_run_that_ended_there_would_have_left(carried_out):
    found = carried_out(keep_best=True)
    ended = carried_out(found["kept_at"] // BATCH)
    assert found["evaluations"] == ended["evaluations"]
    for name in ("agent", "network"):
        one, other = tensors(found, name), tensors(ended, name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_it_stands_before_a_validator_and_another_point_does_not(carried_out, capsys):
    found = carried_out(keep_best=True)
    assert validate.main([found["folder"]]) == 0
    assert "2 of 2 rows stand" in capsys.readouterr().out
    assert check_curve(found, keeps_best=True) == []
    # What was judged is not the last point.
    assert check_curve(found) == ["curve: its last point is not the evaluation validation, sampled"]
    better = copy.deepcopy(found)
    better["curve"][2]["error"] = found["curve"][4]["error"] - 0.1
    images = better["curve"][2]["images_seen"]
    assert check_curve(better, keeps_best=True) == [
        f"kept_at: claimed {found['kept_at']}, its curve is best at {images}",
        "curve: its best point is not the evaluation validation, sampled",
    ]
    cut = {**found, "curve": found["curve"][:-1]}
    assert check_curve(cut, keeps_best=True) == ["curve: its last point is not at the last image"]
    nothing = {**found, "curve": [{}]}
    assert "curve: expected an error at each point" in check_curve(nothing, keeps_best=True)[-1]


def test_an_agent_whose_state_cannot_be_kept_is_refused():
    class Forgetful:
        def state(self):
            raise TypeError("no state")

    with pytest.raises(CannotStartError, match=r"expected keep_best=false .* no state"):
        Best(Forgetful())
