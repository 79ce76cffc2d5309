"""Laws of the curves: the same tags for every agent, HPARAMS rows whose metrics are filled."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from made_results import charts_of, curves_of, server_context
from PIL import Image as image_io
from safetensors.torch import load_file
from stable_baselines3 import PPO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.context import RequestContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

import ccenv
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.envs.stable_baselines import BlockSelectionVecEnv
from ccenv.runs.tensorboard.charts import OF_A_RUN
from ccenv.runs.tensorboard.tracking import Tracker

PROBE = PROBE_SETTINGS | {
    "images": 512,
    "batch_size": 64,
}
SETTINGS = {"condnet": {"target_density": 0.25}, "rloo": {"num_kept": 1}}
AGENTS = ("dense", "block_dropout", "reinforce", "rloo", "condnet", "sb3_a2c")


@pytest.fixture(scope="module")
def runs_of_agents(tmp_path_factory):
    """Log folder and results of a run of each agent."""
    logs = tmp_path_factory.mktemp("tracking")
    given = {agent: PROBE | SETTINGS.get(agent, {}) for agent in AGENTS}
    results = {a: ccenv.train(a, log_dir=str(logs), **given[a]).result for a in AGENTS}
    return logs, results


@pytest.fixture(scope="module")
def events(runs_of_agents):
    found = {}
    for agent, result in runs_of_agents[1].items():
        folder = str(curves_of(result["folder"]))
        accumulator = EventAccumulator(folder, size_guidance={"scalars": 0})
        found[agent] = accumulator.Reload()
    return found


def session_groups(logs):
    """HPARAMS rows as TensorBoard's own backend shows them."""
    context = backend_context.Context(server_context(logs))
    request_context = RequestContext()
    experiment = context.experiment_from_metadata(
        request_context,
        "0",
        include_metrics=True,
        hparams_run_to_tag_to_content=context.hparams_metadata(request_context, "0"),
        data_provider_hparams=context.hparams_from_data_provider(request_context, "0", 1000),
    )
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=[api_pb2.STATUS_SUCCESS],
        col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos],
    )
    handler = list_session_groups.Handler(request_context, context, "0", request)
    return experiment, handler.run().session_groups


def test_every_agent_has_the_same_curves_histograms_and_texts(events):
    tags = {
        agent: {
            kind: {t for t in found.Tags()[kind] if not t.startswith(("train/", "time/"))}
            for kind in ("scalars", "histograms", "tensors")
        }
        for agent, found in events.items()
    }
    assert all(found == tags["dense"] for found in tags.values())
    judged = {"error", "nll", "compute_cost", "total_cost", "density"}
    gates = {"density_0", "density_1"}
    expected = {f"{split}/{name}" for split in ("eval", "test") for name in judged}
    expected |= {f"training/{n}" for n in {"return", "error", "nll", "compute_cost"} | gates}
    expected |= {"reward/accuracy", "reward/cost", "rollout/ep_rew_mean", "rollout/ep_len_mean"}
    expected |= {f"use/{name}" for name in gates} | {"eval_over_macs/error"}
    assert tags["rloo"]["scalars"] == expected
    assert tags["rloo"]["histograms"] == {"use/keep_probability_0", "use/keep_probability_1"}


def test_error_over_cost_is_every_validation_from_left_to_right(events, runs_of_agents):
    for agent, result in runs_of_agents[1].items():
        points = [(p.step, p.value) for p in events[agent].Scalars("eval_over_macs/error")]
        assert [macs for macs, _ in points] == sorted({round(p["macs"]) for p in result["curve"]})
        last = result["curve"][-1]
        assert dict(points)[round(last["macs"])] == pytest.approx(last["error"], abs=1e-6)


def test_agents_that_draw_masks_show_how_far_an_update_moves_them(events):
    for agent, found in events.items():
        shown = "train/approx_kl" in found.Tags()["scalars"]
        assert shown == (agent in ("reinforce", "rloo", "condnet")), agent
        # Of agents that take one step nothing is clipped.
        assert "train/clip_fraction" not in found.Tags()["scalars"]
    kl = [point.value for point in events["reinforce"].Scalars("train/approx_kl")]
    assert len(kl) == 512 // 64
    assert all(0 < value < 0.1 for value in kl)


def test_curves_end_with_what_the_result_says(events, runs_of_agents):
    for agent, result in runs_of_agents[1].items():
        test, _, validation, _ = result["evaluations"]
        for tag, verdict in (("test", test), ("eval", validation)):
            for name in ("error", "compute_cost", "total_cost"):
                last = events[agent].Scalars(f"{tag}/{name}")[-1].value
                assert last == pytest.approx(verdict[name], abs=1e-6)


def test_hparams_has_the_settings_of_the_agents_there_and_ticks_what_differs(runs_of_agents):
    logs, results = runs_of_agents
    experiment, groups = session_groups(logs)
    assert len(groups) == len(results)
    infos = {info.name: info for info in experiment.hparam_infos}
    assert infos["agent"].differs
    assert not infos["dataset"].differs
    assert {"num_kept", "target_density", "learning_rate"} <= set(infos)
    assert not {"folder", "log_dir", "prior_rate", "n_epochs"} & set(infos)
    for group in groups:
        assert {"agent", "env", "seed", "reward", "num_blocks"} <= set(group.hparams)
        agent = group.hparams["agent"].string_value
        values = {value.name.tag: value.value for value in group.metric_values}
        expected = results[agent]["evaluations"][0]["error"]
        assert values["test/error"] == pytest.approx(expected, abs=1e-6)


def test_hparams_ticks_the_first_five_metrics_which_are_the_verdict_on_validation(runs_of_agents):
    tags = [info.name.tag for info in session_groups(runs_of_agents[0])[0].metric_infos]
    judged = ("compute_cost", "density", "error", "nll", "total_cost")
    assert tags[:5] == [f"eval/{name}" for name in judged]


def test_a_cost_weight_differs_from_its_default_in_hparams(tmp_path):
    for kwargs in ({}, {"cost_weight": 2.0}):
        given = PROBE | {"images": 64, "latency": False, "reward_kwargs": kwargs}
        ccenv.train("dense", log_dir=str(tmp_path), **given)
    experiment, groups = session_groups(tmp_path)
    assert [i.name for i in experiment.hparam_infos if i.differs] == ["reward_kwargs.cost_weight"]
    weights = [group.hparams["reward_kwargs.cost_weight"].number_value for group in groups]
    assert sorted(weights) == [1.0, 2.0]


def test_the_layout_of_custom_scalars_is_read_and_its_charts_find_curves(runs_of_agents):
    logs, results = runs_of_agents
    context = server_context(logs)
    drawn = charts_of(context)
    assert [chart["title"] for chart in drawn] == list(*OF_A_RUN.values())
    listed = context.data_provider.list_scalars(
        RequestContext(), experiment_id="0", plugin_name="scalars"
    )
    tags = set(listed[str(curves_of(results["reinforce"]["folder"]).relative_to(logs))])
    for chart in drawn:
        patterns = [re.compile(pattern) for pattern in chart["multiline"]["tag"]]
        assert all(any(pattern.match(tag) for tag in tags) for pattern in patterns)


def test_the_end_shows_the_use_of_blocks_by_class_in_a_small_picture(runs_of_agents):
    result = runs_of_agents[1]["reinforce"]
    events = EventAccumulator(str(curves_of(result["folder"])), size_guidance={"images": 0})
    (image,) = events.Reload().Images("use/by_class")
    assert image.step == result["images_seen"]
    assert len(image.encoded_image_string) < 30_000
    drawn = np.asarray(image_io.open(io.BytesIO(image.encoded_image_string)))
    # Two gates, whose cells have many colours.
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 20


SHARED_WITH_SB3 = {
    *("rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "train/loss"),
    *("train/learning_rate", "train/entropy_loss", "train/explained_variance"),
}


def test_curves_share_charts_with_a_model_of_stable_baselines_that_writes_to_the_same_folder(
    tmp_path,
):
    result = ccenv.train("actor_critic", log_dir=str(tmp_path / "logs"), **PROBE).result
    environment = PROBE_SETTINGS | {"observation": "summary"}
    env = BlockSelectionVecEnv(64, **environment)
    model = PPO("MlpPolicy", env, n_steps=2, batch_size=128, tensorboard_log=str(tmp_path / "sb3"))
    model.learn(2 * 512, log_interval=1)
    folders = curves_of(result["folder"]), tmp_path / "sb3" / "PPO_1"
    ours, theirs = (EventAccumulator(str(folder)).Reload() for folder in folders)
    for tag in SHARED_WITH_SB3:
        last = ours.Scalars(tag)[-1].step, theirs.Scalars(tag)[-1].step
        assert last == (2 * 512, 2 * 512)
    assert ours.Scalars("rollout/ep_rew_mean")[-1].value == pytest.approx(
        ours.Scalars("training/return")[-1].value
    )
    assert {e.Scalars("rollout/ep_len_mean")[-1].value for e in (ours, theirs)} == {2}


def test_agents_with_an_optimiser_show_its_rate_and_their_gradient(events):
    for agent in ("reinforce", "rloo", "condnet", "sb3_a2c"):
        assert all(p.value > 0 for p in events[agent].Scalars("train/gradient_norm"))
        assert events[agent].Scalars("train/learning_rate")[0].value > 0
    assert "train/gradient_norm" not in events["block_dropout"].Tags()["scalars"]


def learned(agent, log_dir):
    """Numbers and weights of a short run that trains the network too."""
    settings = PROBE | SETTINGS.get(agent, {}) | {"images": 256, "weights": "cotrain"}
    result = ccenv.train(agent, log_dir=str(log_dir), **settings).result
    stored = (Path(result["folder"]) / "checkpoint").glob("*.safetensors")
    numbers = {name: result[name] for name in ("evaluations", "curve", "block_use", "images_seen")}
    return numbers, {path.name: load_file(path) for path in stored}


@pytest.mark.parametrize("agent", ["rloo", "sb3_a2c"])
def test_what_is_written_changes_no_number_and_no_weight(agent, tmp_path, monkeypatch):
    numbers, weights = learned(agent, tmp_path / "with")
    for method in ("rollout", "evaluation", "finish", "_write_settings"):
        monkeypatch.setattr(Tracker, method, lambda *given: None)
    silent, other = learned(agent, tmp_path / "without")
    assert numbers == silent
    assert weights.keys() == other.keys()
    for name, tensors in weights.items():
        assert all(torch.equal(value, other[name][key]) for key, value in tensors.items())


def test_the_settings_are_there_as_text_with_the_run_s_folder(events, runs_of_agents):
    (text,) = events["rloo"].Tensors("settings/agent_settings/text_summary")
    assert b"| num_kept | 1 |" in text.tensor_proto.string_val[0]
    (text,) = events["rloo"].Tensors("settings/run/text_summary")
    folder = runs_of_agents[1]["rloo"]["folder"]
    assert f"| folder | {folder} |".encode() in text.tensor_proto.string_val[0]
