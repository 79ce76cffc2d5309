"""An ONNX file answers as the classifier that it was written from."""

import pytest
import torch

from ccenv.agents.reinforce import Reinforce
from ccenv.agents.topk import TopK
from ccenv.data import load_split
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.onnx_check import Session, compare
from ccenv.deploy.onnx_file import write_onnx
from ccenv.simulator.simulator import Simulator

for library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library, reason='needs pip install "ccenv[onnx]"')

UNITS = {"network": "resnet", "network_kwargs": {"depth": 8, "width": 4}}
EXITS = {"network": "early_exit", "network_kwargs": {"units": (8, 8)}}


def classifier_of(agent, **settings):
    simulator = Simulator(8, dataset="digits", **({"weights": "cotrain"} | settings))
    simulator.seed(0)
    return SkippingClassifier.from_agent(agent(simulator, seed=0))


@pytest.mark.parametrize(
    ("agent", "settings", "draw", "skips"),
    [
        (
            Reinforce,
            {"num_blocks": (4, 4), "block_size": 4, "observation": "summary"},
            "sampled",
            0,
        ),
        (Reinforce, EXITS, "sampled", 0),
        (Reinforce, UNITS, "sampled", 1),
    ],
)
def test_a_file_answers_as_its_classifier_on_the_same_draws(agent, settings, draw, skips, tmp_path):
    classifier = classifier_of(agent, **settings)
    images, _ = load_split("digits", "test").batch(torch.arange(40))
    path = tmp_path / "file.onnx"
    form = write_onnx(classifier, path, draw, skips=bool(skips))
    found = compare(classifier, form, Session(path), images)
    assert found.logits_apart < 1e-4
    assert found.same_masks == found.same_answers == 1
    assert 0 < found.kept < 1
    if skips:
        import onnx

        operations = [node.op_type for node in onnx.load(path).graph.node]
        assert operations.count("If") == 3


def test_what_no_graph_holds_is_refused(tmp_path):
    classifier = classifier_of(
        TopK, network="conv", network_kwargs={"channels": (4,), "strides": (1,), "num_blocks": 2}
    )
    with pytest.raises(ValueError, match="residual units"):
        write_onnx(classifier, tmp_path / "file.onnx", skips=True)
