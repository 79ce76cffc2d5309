"""Laws of runs over sequences in the commands: bad input is refused, what they show is true."""

import pytest
from browser import needs_browser, said_by
from made_results import curves_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ccenv
from ccenv.runs.commands import cli, inspect, train
from ccenv.runs.config.command import read_config
from ccenv.runs.replay.rebuilt import open_run, walk_inputs
from ccenv.runs.store.folder import CHECKPOINT
from ccenv.runs.store.masks_file import load_masks
from ccenv.runs.store.untrusted_files import EXPORTED

TEXT = "reinforce dataset=python_bundled@16 episode=sequence network=skip_gru"
STALENESS = "reinforce dataset=staleness network=staleness episode=sequence"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs on text and on numbers."""
    logs = tmp_path_factory.mktemp("logs")
    program = ["images=64", "batch_size=8", f"log_dir={logs}", "--export"]
    small = "network_kwargs.width=48 network_kwargs.embedding_size=16"
    # The second network is none that can be exported.
    for status, words in enumerate([f"{TEXT} {small}", STALENESS]):
        assert train.main([*words.split(), *program]) == status
    folders = sorted(path.parent for path in logs.rglob("result.json"))
    return {read_config(folder / "config.json")["dataset"]: folder for folder in folders}


@pytest.mark.parametrize("agent", ["gumbel", "straight_through"])
@pytest.mark.parametrize("weights", ["frozen", "cotrain"])
def test_a_relaxed_gate_is_trained_by_command(agent, weights, tmp_path, capsys):
    words = [*TEXT.split()[1:], "network_kwargs.width=48", "network_kwargs.embedding_size=16"]
    words += ["observation=layer_input", f"weights={weights}"]
    words += ["images=64", "batch_size=8", f"log_dir={tmp_path}"]
    assert train.main([agent, *words, "reward=nll_minus_cost"]) == 0
    assert train.main([agent, *words, "reward=negative_nll"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "expected a reward with a term 'cost'" in said


DRAWN = """
<script>
addEventListener("load", () => {
  const texts = query => [...document.querySelectorAll(query)].map(one => one.innerText);
  document.body.dataset.said = JSON.stringify({kept: texts("[data-kept=true]"),
    places: texts("[data-kept]"), bars: texts("[data-bar]"), words: texts(".run").join("\\n"),
    buttons: document.querySelectorAll(".block").length});
});
</script>
"""


@needs_browser
@pytest.mark.parametrize("dataset", ["python_bundled@16", "staleness"])
def test_a_page_of_sequences_marks_the_positions_that_were_kept(dataset, runs, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert inspect.main([str(runs[dataset]), "--out", str(page), "--masks", "sampled"]) == 0
    # Nothing of a sequence can be switched, which is no lack of its network.
    assert not capsys.readouterr().err
    said, console = said_by(page.read_text(), tmp_path, DRAWN)
    assert "CONSOLE" not in console
    walked = walk_inputs(open_run(runs[dataset]), False)
    kept = walked.masks[0][: walked.positions, 0]
    assert f"kept at {int(kept.sum())} of {walked.positions} positions" in said["words"]
    assert said["kept"] == [place for place, bit in zip(said["places"], kept, strict=True) if bit]
    assert said["bars"] == said["places"]
    assert f"nll {walked.nll[: walked.positions].mean():.3f}".rstrip("0") in said["words"]
    assert not said["buttons"]


def test_a_page_walks_sequences_as_their_run_s_evaluation_did(runs):
    for folder in runs.values():
        run = open_run(folder)
        for greedy in (True, False):
            walked = walk_inputs(run, greedy)
            rows = len(walked.labels)
            stored = load_masks(
                folder, greedy, [1], len(run.env.simulator.on_split("test", 1).data)
            )
            assert rows % walked.positions == 0
            assert (stored[0][:rows] == walked.masks[0]).all()


def test_curves_count_the_steps_of_all_positions(runs):
    events = EventAccumulator(str(curves_of(runs["staleness"]))).Reload()
    assert events.Scalars("rollout/ep_len_mean")[-1].value == 24
    assert events.Scalars("rollout/ep_rew_mean")[-1].step == 64 * 24


def test_a_network_that_reads_no_earlier_positions_is_not_exported(runs):
    # A classifier would answer each position as the first of its sequence.
    exported = {name: (folder / CHECKPOINT / EXPORTED).exists() for name, folder in runs.items()}
    assert exported == {"python_bundled@16": True, "staleness": False}


def test_a_run_says_its_bits_or_its_mean_return(runs):
    text, numbers = (ccenv.load(runs[name]) for name in ("python_bundled@16", "staleness"))
    assert "test bits a symbol" in text.summary
    assert "mean return" not in text.summary
    sampled, greedy = (f"{one['mean_return']:.4f}" for one in numbers.result["evaluations"][:2])
    assert f"\nmean return {sampled} (sampled masks), {greedy} (greedy masks)\n" in numbers.summary


SAYS = {
    "export {staleness} --onnx": "classifier.safetensors",
    "generate {staleness}": "classifier.safetensors",
    "inspect {text} {staleness}": "expected runs on the same test inputs",
}


@pytest.mark.parametrize("words", SAYS)
def test_what_cannot_be_done_for_a_sequence_is_said_in_one_line(words, runs, capsys):
    if "--onnx" in words:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    settings = STALENESS.partition(" ")[2]
    given = words.format(
        settings=settings, staleness=runs["staleness"], text=runs["python_bundled@16"]
    )
    assert cli.main(given.split()) == 2
    said = capsys.readouterr()
    assert SAYS[words] in said.err
    assert (said.err.count("\n"), said.out) == (1, "")
