"""Laws of the warning about greedy and sampled masks, and of the programs that give it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ccenv
from ccenv.agents.reinforce import Reinforce
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.runs.commands import cli
from ccenv.runs.engine import onnx_export
from ccenv.runs.stats.measures import LEAST_GAP, mask_gap
from ccenv.simulator.simulator import Simulator

SHORT_RUN = (0.06, 0.36)
ERRORS = st.floats(0, 1)


def result_of(sampled, greedy, *, learns=True, num_images=500):
    evaluation = {"split": "test", "num_images": num_images, "compute_cost": 0.1}
    evaluation |= {"total_cost": 0.2, "density": [0.1]}
    errors = {"sampled": sampled, "mode": greedy}
    judged = [evaluation | {"mode": mode, "error": error} for mode, error in errors.items()]
    return {"agent": "reinforce", "learns": learns, "evaluations": judged, "folder": "folder"}


@given(ERRORS, ERRORS, st.integers(1, 10**6))
def test_the_kind_of_masks_with_fewer_errors_is_advised_or_none(sampled, greedy, num_inputs):
    said = mask_gap(sampled, greedy, num_inputs)
    if abs(sampled - greedy) < LEAST_GAP:
        assert said == ""
    if said:
        assert f"deterministic={greedy < sampled}" in said
        assert ("take greedy masks" in said) == (greedy < sampled)
        assert said.endswith("or train longer")


def test_more_inputs_show_a_smaller_difference_down_to_the_least():
    assert mask_gap(0.06, 0.09, 300) == ""
    assert mask_gap(0.06, 0.09, 10_000)
    assert mask_gap(0.06, 0.079, 10**9) == ""


def test_training_warns_of_a_run_whose_greedy_masks_have_many_more_errors(capsys, monkeypatch):
    def said_of(result):
        monkeypatch.setattr("ccenv.runs.engine.run.run", lambda *_, **__: result)
        assert cli.main(["train", "reinforce", "--json"]) == 0
        return capsys.readouterr().err

    warning = said_of(result_of(*SHORT_RUN))
    assert "greedy masks have 36.0 % error, sampled masks 6.0 %" in warning
    assert "deterministic=False" in warning
    assert "train longer" in warning
    assert said_of(result_of(0.06, 0.07)) == ""
    # From Python too.
    monkeypatch.setattr("ccenv.runs.engine.run.run", lambda *_, **__: result_of(*SHORT_RUN))
    ccenv.train("reinforce")
    assert "greedy masks have 36.0 % error" in capsys.readouterr().err
    # Random masks keep nothing when greedy, and no training changes that.
    assert said_of(result_of(*SHORT_RUN, learns=False)) == ""


def test_an_export_warns_and_says_which_masks_the_file_takes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(onnx_export, "check_installed", lambda: None)
    monkeypatch.setattr(onnx_export, "written", lambda *_, **__: None)
    simulator = Simulator(8, dataset="digits", weights="cotrain", num_blocks=(2,), block_size=2)
    simulator.seed(0)
    classifier = SkippingClassifier.from_agent(Reinforce(simulator, seed=0))
    sampled, greedy = SHORT_RUN
    classifier.content |= {"draw": "sampled"}
    words = ["--onnx", "--dataset", "digits", "--images", "10"]
    for errors, is_warned in (((sampled, greedy), True), ((sampled, sampled), False)):
        classifier.content["validation_error"] = dict(zip(("sampled", "mode"), errors, strict=True))
        classifier.save(tmp_path / "classifier.safetensors")
        assert cli.main(["export", str(tmp_path / "classifier.safetensors"), *words]) == 0
        said = capsys.readouterr().err
        assert ("greedy masks have 36.0 % error" in said) == is_warned
        assert ("this file takes sampled masks" in said) == is_warned
    monkeypatch.setattr(onnx_export, "written", lambda *_, **__: pytest.fail("wrote a form"))
    place = str(tmp_path / "classifier.safetensors")
    assert cli.main(["export", place, *words, "--skip"]) == 2
    assert "leave --skip out" in capsys.readouterr().err
