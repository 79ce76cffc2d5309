"""An ONNX file answers as the classifier that it was written from."""

import pytest
import torch

from ccenv.agents import AGENTS
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.deploy.masked_form import form_of
from ccenv.annexes.deploy.onnx_file import Session, agreement, as_program, write_onnx
from ccenv.data import load_split
from ccenv.networks.core.lowering import by_steps
from ccenv.networks.core.mlp import GatedMLP
from tests.ccenv.episodes import seeded

for library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library, reason='needs pip install "ccenv[onnx]"')

UNITS = {"network": "resnet", "network_kwargs": {"depth": 8, "width": 4}}
EXITS = {"network": "early_exit", "network_kwargs": {"units": (8, 8)}}
HEADS = {
    "network": "vit",
    "network_kwargs": {"depth": 1, "dim": 8, "num_heads": 2, "num_groups": 1},
}
WHOLE = {"network": "small_conv", "network_kwargs": {"channels": (4,), "units": (8,)}}


def classifier_of(name, **settings):
    simulator = seeded(8, **({"dataset": "digits", "weights": "cotrain"} | settings))
    return SkippingClassifier.from_agent(AGENTS[name](simulator, seed=0))


@pytest.mark.parametrize(
    ("settings", "branches"),
    [
        ({"num_blocks": (4, 4), "block_size": 4, "observation": "summary"}, 0),
        pytest.param(WHOLE, 0, marks=pytest.mark.slow),
        pytest.param(EXITS, 0, marks=pytest.mark.slow),
        (EXITS, 1),
        pytest.param(UNITS, 3, marks=pytest.mark.slow),
        # Two heads and one group of units.
        (HEADS, 3),
    ],
)
def test_a_file_answers_as_its_classifier_on_the_same_draws(settings, branches, tmp_path):
    classifier = classifier_of("reinforce", **settings)
    images, _ = load_split("digits", "test").batch(torch.arange(40))
    path = tmp_path / "file.onnx"
    form = write_onnx(classifier, path, deterministic=False, skips=bool(branches))
    found = agreement(classifier, form, Session(path), images)
    assert found.logits_apart < 1e-4
    assert found.same_masks == found.same_answers == 1
    assert 0 < found.kept < 1
    if branches:
        import onnx

        operations = [node.op_type for node in onnx.load(path).graph.node]
        assert operations.count("If") == branches


def test_what_no_graph_holds_is_refused(tmp_path):
    classifier = classifier_of(
        "topk", network="conv", network_kwargs={"channels": (4,), "strides": (1,), "num_blocks": 2}
    )
    with pytest.raises(ValueError, match=r"residual units.*BlockConv2d"):
        write_onnx(classifier, tmp_path / "file.onnx", skips=True)


class Looks(GatedMLP):
    """A network that decides by values, which no graph holds."""

    def step(self, gate, hidden, mask, weights=None, backend="auto"):
        if hidden.x.sum() > 0:
            return super().step(gate, hidden, mask, weights, backend)
        return super().step(gate, hidden, ~mask, weights, backend)


def test_a_network_that_looks_at_values_is_refused_in_one_line(tmp_path, capfd):
    form = form_of(classifier_of("reinforce", num_blocks=(2,), block_size=4))
    form.network.__class__ = Looks
    form.lower, form.open_batch = by_steps, False
    with pytest.raises(ValueError, match="Looks as a graph: expected operations on tensors alone"):
        as_program(form)
    # Torch prints the whole graph where a number of it is unknown.
    words = classifier_of("reinforce", dataset="tests.ccenv.episodes:windows", network="skip_gru")
    with pytest.raises(ValueError, match="SkipGRU as a graph: expected operations"):
        write_onnx(words, tmp_path / "words.onnx")
    assert "def forward" not in "".join(capfd.readouterr())
