"""Laws of the curves: the same tags for every agent, HPARAMS rows whose metrics are filled."""

import numpy as np
import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from ccenv.probe import PROBE_SETTINGS
from runs import run, train
from runs.tracking import METRICS, compact, picture_of_use

PROBE = PROBE_SETTINGS | {
    "images": 2048,
    "batch_size": 64,
}
AGENTS = ("dense", "block_dropout", "reinforce", "rloo")


@pytest.fixture(scope="module")
def runs_of_agents(tmp_path_factory):
    """Log folder and results of a run of each agent."""
    logs = tmp_path_factory.mktemp("tracking")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCENV_CACHE", str(logs / "cache"))
        patch.setattr(run, "latencies", lambda env, agent: [])
        results = {a: train.train(a, log_dir=str(logs / "logs"), **PROBE) for a in AGENTS}
    return logs / "logs", results


@pytest.fixture(scope="module")
def events(runs_of_agents):
    found = {}
    for agent, result in runs_of_agents[1].items():
        accumulator = EventAccumulator(result["folder"], size_guidance={"scalars": 0})
        found[agent] = accumulator.Reload()
    return found


def session_groups(logs):
    """HPARAMS rows as TensorBoard's own backend shows them."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logs))
    multiplexer.Reload()
    context = backend_context.Context(
        base_plugin.TBContext(
            data_provider=data_provider.MultiplexerDataProvider(multiplexer, str(logs))
        )
    )
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


def test_every_agent_has_the_same_curves_histograms_pictures_and_texts(events):
    tags = {
        agent: {
            kind: {t for t in found.Tags()[kind] if not t.startswith("agent/")}
            for kind in ("scalars", "histograms", "images", "tensors")
        }
        for agent, found in events.items()
    }
    assert all(found == tags["dense"] for found in tags.values())
    scores = {"error", "nll", "compute_cost", "total_cost"}
    densities = {"density_0", "density_1"}
    expected = {f"eval/{name}" for name in scores | densities} | {f"test/{n}" for n in scores}
    expected |= {f"episode/{n}" for n in {"return", "error", "nll", "compute_cost"} | densities}
    expected |= {"reward/accuracy", "reward/cost"}
    assert tags["rloo"]["scalars"] == expected
    assert tags["rloo"]["histograms"] == {"keep_probability/layer_0", "keep_probability/layer_1"}
    assert tags["rloo"]["images"] == {"block_use/layer_0", "block_use/layer_1"}


def test_curves_run_over_images_seen(events):
    scalars = events["reinforce"].Scalars("eval/error")
    assert scalars[0].step == 0
    assert scalars[-1].step == 2048
    assert events["reinforce"].Scalars("episode/error")[-1].step == 2048
    assert [point.step for point in events["dense"].Scalars("eval/error")] == [0, 0]


def test_agents_draw_curves_of_their_own(events):
    assert "agent/entropy" in events["reinforce"].Tags()["scalars"]


def test_curves_end_with_what_the_result_says(events, runs_of_agents):
    for agent, result in runs_of_agents[1].items():
        test, _, validation = result["evaluations"]
        for tag, verdict in (("test", test), ("eval", validation)):
            for name in ("error", "compute_cost", "total_cost"):
                last = events[agent].Scalars(f"{tag}/{name}")[-1].value
                assert last == pytest.approx(verdict[name], abs=1e-6)


def test_hparams_rows_have_every_metric_filled_and_the_same_columns(runs_of_agents):
    logs, results = runs_of_agents
    experiment, groups = session_groups(logs)
    assert {info.name.tag for info in experiment.metric_infos} == set(METRICS)
    assert len(groups) == len(results)
    columns = [set(group.hparams) for group in groups]
    assert all(found == columns[0] for found in columns)
    assert {"agent", "env", "seed", "reward", "agent_settings"} <= columns[0]
    for group in groups:
        agent = group.hparams["agent"].string_value
        values = {value.name.tag: value.value for value in group.metric_values}
        assert set(values) == set(METRICS)
        expected = results[agent]["evaluations"][0]["error"]
        assert values["test/error"] == pytest.approx(expected, abs=1e-6)


def test_no_run_hides_in_a_folder_of_its_own(runs_of_agents):
    logs, results = runs_of_agents
    assert len(list(logs.rglob("events.out.tfevents.*"))) == len(results)


def test_the_settings_are_there_as_text(events):
    (text,) = events["rloo"].Tensors("settings/agent_settings/text_summary")
    assert b"| num_kept | 2 |" in text.tensor_proto.string_val[0]


def test_the_picture_of_block_use_shows_classes_and_blocks():
    use = np.linspace(0, 1, 30).reshape(10, 3)
    picture = picture_of_use(use, layer=0)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_compact_values_are_short():
    assert compact({"a": (1, 2), "b": None, "c": "x"}) == "a=[1,2] b=null c=x"
