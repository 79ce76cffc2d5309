"""Law: a run that is stopped and started again ends as if it had never stopped, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from made_results import curves_of
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from ccenv.agents import AGENTS
from ccenv.agents.reinforce import Reinforce
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.base.checked_file import load_tree, save_tree
from ccenv.base.registry import resolve
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine import checkpoint, listener, run
from ccenv.runs.store import folder as run_folder
from ccenv.runs.tensorboard import tracking
from ccenv.runs.tensorboard.names import BOARD, run_name, shared_settings
from tests.ccenv.base.test_damage import flip
from tests.ccenv.episodes import UNEVEN

BATCH, UPDATES = 64, 6
IMAGES = BATCH * UPDATES
RUN = {"images": IMAGES, "batch_size": BATCH, "eval_every": 2 * BATCH}
PROBE = PROBE_SETTINGS | RUN
COTRAIN = UNEVEN | RUN | {"weights_kwargs": {"schedule_updates": 4}}
BEST = {"keep_best": True, "eval_every": BATCH}
SMALL = {
    "rloo": {"num_kept": 1},
    "magnitude": {"target_density": 0.25},
}
CONFIDENCE = {
    "dataset": "digits",
    "network": "cascade",
    "network_kwargs": {"first": [6], "then": [12]},
    "weights": "cotrain",
    "stop_shares": 0.5,
    **RUN,
}
PONDERING = {
    "dataset": "synthetic",
    "network": "pondering",
    "network_kwargs": {"units": 4, "num_steps": 3},
    "weights": "cotrain",
    "observation": "layer_input",
    **RUN,
}
LEARNERS = [name for name in AGENTS if resolve(name, AGENTS, "agent").learns]
ALONG = [name for name in LEARNERS if name not in ("act", "pondernet")]
WHILE_THE_NETWORK_LEARNS = ["dense", "block_dropout", "magnitude", "oracle", *ALONG]


class StoppedError(BaseException):
    """What stops a run in a test."""


class Clock:
    """Time that passes at once where somebody waits: a resumed run waits for the next second."""

    def __init__(self):
        self.ahead = 0.0

    def time(self):
        return time.time() + self.ahead

    def sleep(self, seconds):
        self.ahead += seconds


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    clock = Clock()
    for module in (tracking, event_file_writer):
        monkeypatch.setattr(module, "time", clock)


def carry_out(plan, every=2 * BATCH, **options):
    return run.run(plan, options=run.Options(checkpoint_every=every, **options))


def stopped_at(monkeypatch, plan, images, **options):
    """Starts a plan, and raises before the update is kept after which so many images are seen."""
    original = listener.Listener.__call__

    def call(self, images_seen, scalars):
        if images_seen == images:
            raise StoppedError
        original(self, images_seen, scalars)

    with monkeypatch.context() as patch:
        patch.setattr(listener.Listener, "__call__", call)
        with pytest.raises(StoppedError):
            carry_out(plan, **options)


def with_stops(monkeypatch, plan, stops, **options):
    """Runs a plan, stops it at each of these numbers of images, and lets it end."""
    for images in stops:
        stopped_at(monkeypatch, plan, images, **options)
    return carry_out(plan, **options)


def tensors(result, name):
    return load_file(Path(result["folder"]) / "checkpoint" / f"{name}.safetensors")


def points(result):
    """Every scalar, histogram and picture tag of a run with its steps and values; no times."""
    sizes = {"scalars": 0, "histograms": 0}
    events = EventAccumulator(str(curves_of(result["folder"])), size_guidance=sizes)
    tags = events.Reload().Tags()
    # Files are read in the order of their clocks.
    found = {tag: sorted((p.step, p.value) for p in events.Scalars(tag)) for tag in tags["scalars"]}
    del found["time/fps"]
    for tag in tags["histograms"]:
        values = [(p.step, p.histogram_value.sum) for p in events.Histograms(tag)]
        found[tag] = sorted(values)
    return found | {tag: len(events.Images(tag)) for tag in tags["images"]}


def assert_same_end(stopped, whole):
    for name in ("images_seen", "evaluations", "curve", "block_use"):
        assert stopped[name] == whole[name]
    for name in ("agent", "network", "masks"):
        one, other = tensors(stopped, name), tensors(whole, name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert points(stopped) == points(whole)


def plans(tmp_path, agent, settings):
    given = settings | SMALL.get(agent, {})
    return (make_plan(agent, given | {"log_dir": str(tmp_path / name)}) for name in ("a", "b"))


def folder_of(tmp_path):
    (place,) = (tmp_path / "b").glob("*/*/*/*/seed-*")
    return place


SEQUENCE = {
    "dataset": "adding",
    "network": "skip_gru",
    "network_kwargs": {"width": 3, "embedding_size": 2},
    "episode": "sequence",
    "reward": "nll_minus_cost",
    "observation": "layer_input",
    "weights": "cotrain",
    **RUN,
    "eval_every": IMAGES,
}
CASES = {
    "reinforce over sequences": ("reinforce", SEQUENCE, 4, 2),
    "gumbel over sequences": ("gumbel", SEQUENCE, 4, 2),
    "sb3_ppo over sequences": pytest.param("sb3_ppo", SEQUENCE, 4, 2, marks=pytest.mark.slow),
    **{name: (name, PROBE, 4, 2) for name in LEARNERS},
    **{name: (name, PONDERING, 4, 2) for name in ("act", "pondernet")},
    **{f"{name} along": (name, COTRAIN, 4, 2) for name in ("fixed_mask", "reinforce", "sb3_a2c")},
    "confidence": ("confidence", CONFIDENCE, 4, 2),
    "a multiplier": ("reinforce", PROBE | {"reward": "lagrangian"}, 4, 2),
    "a controller": ("reinforce", PROBE | {"reward": "pid_lagrangian"}, 4, 2),
    "a potential": ("reinforce", PROBE | {"reward": "potential"}, 4, 2),
    "the best, lost": ("reinforce", PROBE | BEST | {"learning_rate": 0.3}, 3, 1),
    "the best, found": ("reinforce", PROBE | BEST | {"learning_rate": 0.3}, 5, 1),
    "the best, along": ("reinforce", COTRAIN | BEST, 3, 1),
    "long rollouts": ("sb3_ppo", PROBE | {"images": 12 * BATCH, "n_steps": 4}, 8, 2),
    "a falling rate": ("sb3_ppo", PROBE | {"anneal": True, "n_epochs": 3}, 4, 2),
    **{
        f"{name} along, slowly": pytest.param(name, COTRAIN, 4, 2, marks=pytest.mark.slow)
        for name in WHILE_THE_NETWORK_LEARNS
    },
}
"""What is stopped -> agent, settings, the batch of the stop, batches between two checkpoints."""


@pytest.mark.parametrize(("agent", "settings", "stop", "every"), CASES.values(), ids=CASES)
def test_a_stopped_run_ends_as_if_it_had_never_stopped(
    agent, settings, stop, every, tmp_path, monkeypatch, capsys
):
    whole, stopped = plans(tmp_path, agent, settings)
    expected = carry_out(whole, every=every * BATCH)
    found = with_stops(monkeypatch, stopped, [stop * BATCH], every=every * BATCH)
    # One that starts over ends the same, too.
    assert "goes on after" in capsys.readouterr().err
    assert_same_end(found, expected)
    assert found.get("kept_at") == expected.get("kept_at")


def test_so_does_one_that_is_stopped_again_and_again(tmp_path, monkeypatch):
    # Few points, so that curves wait to be written; more images than the data set has.
    monkeypatch.setattr(tracking, "NUM_POINTS", 2)
    batch = 512
    settings = {"batch_size": batch, "images": 7 * batch, "eval_every": 2 * batch}
    whole, stopped = plans(tmp_path, "reinforce", PROBE | settings)
    expected = carry_out(whole, every=2 * batch)
    stops = [n * batch for n in (4, 4, 5, 6, 7)]
    found = with_stops(monkeypatch, stopped, stops, every=2 * batch)
    assert_same_end(found, expected)
    # Those that a checkpoint knew, and the last.
    assert len(list(curves_of(folder_of(tmp_path)).glob("events.*"))) == 4


def test_a_run_whose_last_checkpoint_is_its_end_is_judged_again_alike(tmp_path, monkeypatch):
    whole, stopped = plans(tmp_path, "reinforce", PROBE | {"images": 8 * BATCH})
    expected = carry_out(whole)
    with monkeypatch.context() as patch:
        patch.setattr(run, "description_of", lambda *_: (_ for _ in ()).throw(StoppedError))
        with pytest.raises(StoppedError):
            carry_out(stopped)
    assert_same_end(carry_out(stopped), expected)


def test_a_process_that_is_killed_leaves_what_another_one_goes_on_from(tmp_path):
    settings = PROBE | {"images": 40 * BATCH, "learning_rate": 0.03}
    whole, stopped = plans(tmp_path, "reinforce", settings)
    expected = carry_out(whole)
    pairs = [f"{k}={str(v).replace(' ', '')}" for k, v in settings.items()]
    command = [sys.executable, "-m", "ccenv", "train", "reinforce", *pairs]
    command += [f"log_dir={tmp_path / 'b'}", f"--checkpoint-every={BATCH}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    path = checkpoint.checkpoint_path(stopped.folder())
    while not path.exists() and process.poll() is None:
        time.sleep(0.001)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # Killed between two renamings it has the checkpoint before; it may have ended by then.
    kept = any(one.exists() for one in (path, checkpoint.one_before(path)))
    assert kept or run_folder.read_result(stopped.folder()) is not None
    assert_same_end(carry_out(stopped), expected)


def test_a_run_starts_anew_where_it_has_ended_or_is_told_to(tmp_path, monkeypatch, capsys):
    whole, stopped = plans(tmp_path, "reinforce", PROBE)
    carry_out(whole)
    assert not checkpoint.checkpoint_path(whole.folder()).exists()
    assert carry_out(whole)["images_seen"] == IMAGES
    stopped_at(monkeypatch, stopped, 4 * BATCH)
    carry_out(stopped, resume=False)
    assert "goes on" not in capsys.readouterr().err
    for plan in (whole, stopped):
        assert len(list(curves_of(plan.folder()).glob("events.*"))) == 1


@pytest.mark.parametrize("damage", ["text", "other code", "other weights", "other agent"])
def test_a_checkpoint_that_does_not_fit_is_told_of_and_the_run_starts_anew(
    damage, tmp_path, monkeypatch, capsys
):
    whole, stopped = plans(tmp_path, "reinforce", PROBE)
    expected = carry_out(whole)
    stopped_at(monkeypatch, stopped, 4 * BATCH)
    path = checkpoint.checkpoint_path(stopped.folder())
    if damage == "text":
        path.write_text("nonsense")
    else:
        tree = load_tree(path)
        if damage == "other code":
            tree["program"]["code"]["reinforce"] = "0"
        elif damage == "other weights":
            tree["simulator"]["digest"] = "0"
        else:
            tree["agent"]["attributes"]["scores"] = {"object": "Linear", "state": {}}
        save_tree(path, tree)
    capsys.readouterr()
    found = carry_out(stopped)
    said = capsys.readouterr().err
    assert said.count("the run starts over") == 1
    assert "goes on" not in said
    assert_same_end(found, expected)


def test_curves_of_a_comparison_s_run_stay_where_they_began(tmp_path, monkeypatch):
    whole, stopped = plans(tmp_path, "reinforce", PROBE)
    expected, shared = carry_out(whole), shared_settings([stopped])
    assert run_name(stopped, shared) != run_name(stopped)
    stopped_at(monkeypatch, stopped, 5 * BATCH, shared=shared)
    # As whoever knows the run alone, and not its comparison.
    found = carry_out(stopped)
    (curves,) = (tmp_path / "b" / BOARD).iterdir()
    assert curves.name == run_name(stopped, shared)
    assert len(list(curves.glob("events.*"))) == 2
    assert found["curve"] == expected["curve"]


def test_a_checkpoint_names_the_code_that_its_run_began_with(tmp_path, monkeypatch, capsys):
    whole, edited = plans(tmp_path, "reinforce", PROBE)
    expected = carry_out(whole)
    digests = iter([{"reinforce": "as it began"}])
    later = {"reinforce": "edited meanwhile"}
    monkeypatch.setattr(checkpoint, "code_digests", lambda plan: next(digests, later))
    stopped_at(monkeypatch, edited, 5 * BATCH)
    found = carry_out(edited)
    assert "code or libraries have changed" in capsys.readouterr().err
    assert_same_end(found, expected)


@pytest.mark.parametrize("both", [False, True])
def test_a_flipped_bit_in_the_last_checkpoint_costs_what_came_after_the_one_before(
    both, tmp_path, monkeypatch, capsys
):
    whole, stopped = plans(tmp_path, "reinforce", PROBE)
    expected = carry_out(whole)
    stopped_at(monkeypatch, stopped, 5 * BATCH)
    last = checkpoint.checkpoint_path(stopped.folder())
    for path in (last, checkpoint.one_before(last))[: 1 + both]:
        flip(path, -20)
    capsys.readouterr()
    found = carry_out(stopped)
    said = capsys.readouterr().err
    assert said.count("is damaged") == 1 + both
    assert said.count(f"goes on after {2 * BATCH} of") == (not both)
    assert said.count("the run starts over") == both
    assert_same_end(found, expected)
    assert not list(last.parent.glob("resume*"))


def test_a_cut_event_file_costs_what_came_after_the_checkpoint_before(
    tmp_path, monkeypatch, capsys
):
    whole, cut = plans(tmp_path, "reinforce", PROBE)
    expected = carry_out(whole)
    stopped_at(monkeypatch, cut, 5 * BATCH, every=BATCH)
    tracker = load_tree(checkpoint.checkpoint_path(cut.folder()))["curves"]["tracker"]
    ((name, size),) = tracker["sizes"].items()
    (events,) = (tmp_path / "b").rglob(Path(name).name)
    with events.open("r+b") as file:
        file.truncate(size - 7)
    # A clock that was set back meanwhile: nothing that is compared comes from it.
    set_back = time.time
    monkeypatch.setattr(time, "time", lambda: set_back() - 3600)
    found = carry_out(cut)
    said = capsys.readouterr().err
    assert "it was cut" in said
    assert f"goes on after {3 * BATCH} of" in said
    assert_same_end(found, expected)


def test_a_checkpoint_that_cannot_be_written_is_told_of_and_the_run_goes_on(
    tmp_path, monkeypatch, capsys
):
    def full(path, tree):
        raise OSError(28, "No space left on device")

    whole, other = plans(tmp_path, "reinforce", PROBE)
    expected = carry_out(whole)
    monkeypatch.setattr(checkpoint, "save_tree", full)
    found = carry_out(other)
    assert "no checkpoint after 128 images, the run goes on: [Errno 28]" in capsys.readouterr().err
    assert_same_end(found, expected)


class Table(Reinforce):
    """Remembers in a list of tensors, and tells that."""

    def __init__(self, env, *, seed=0):
        super().__init__(env, seed=seed)
        self.returns = [torch.zeros(())]

    def update(self, rollout):
        self.returns[0] += rollout.returns.mean() + 0.1 * torch.rand(())
        return super().update(rollout) | {"returns": self.returns[0].item()}


class Secretive(Table):
    """Holds something whose state nobody knows."""

    def __init__(self, env, *, seed=0):
        super().__init__(env, seed=seed)
        self.secret = iter([1, 2, 3])


class OwnLoop(Table):
    """Learns in a loop of its own, which says nothing of resuming."""

    def learn(self, num_images, on_rollout=lambda images_seen, scalars: None):
        return super().learn(num_images, on_rollout)


def test_an_agent_of_the_users_resumes_without_a_line_about_it(tmp_path, monkeypatch):
    whole, stopped = plans(tmp_path, f"{__name__}:Table", PROBE)
    expected = carry_out(whole)
    assert_same_end(with_stops(monkeypatch, stopped, [4 * BATCH, 5 * BATCH]), expected)


@pytest.mark.parametrize("agent", ["Secretive", "OwnLoop"])
def test_an_agent_that_cannot_be_resumed_is_told_of_once_and_starts_anew(
    agent, tmp_path, monkeypatch, capsys
):
    whole, stopped = plans(tmp_path, f"{__name__}:{agent}", PROBE)
    expected = carry_out(whole)
    said = capsys.readouterr().err
    assert said.count("cannot be resumed") == 1
    assert ("secret" if agent == "Secretive" else "resumes = True") in said
    assert_same_end(with_stops(monkeypatch, stopped, [4 * BATCH]), expected)


def test_a_tree_comes_back_as_it_was(tmp_path):
    tree = {
        "numbers": [1, 2.5, -0.0, float("inf"), 10**30, True, None, "text"],
        "tuple": (1, (2, "x")),
        3: {"keys": "that are no strings"},
        "tensors": [torch.arange(6).view(2, 3).t(), torch.zeros(0), torch.tensor(3.5)],
        "bytes": torch.get_rng_state(),
        "array": np.array([1, 2**32 - 1], dtype=np.uint32),
    }
    save_tree(tmp_path / "tree", tree)
    found = load_tree(tmp_path / "tree")
    for key in ("numbers", "tuple", 3):
        assert found[key] == tree[key]
        assert type(found[key]) is type(tree[key])
    for one, other in zip(found["tensors"], tree["tensors"], strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()
    assert torch.equal(found["bytes"], tree["bytes"])
    np.testing.assert_array_equal(found["array"], tree["array"])
    assert found["array"].dtype == np.uint32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]
