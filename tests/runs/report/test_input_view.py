"""Laws of the page of single inputs: it computes what Python does, and shows names as text."""

import json

import numpy as np
import pytest
import torch
from browser import needs_browser, said_by

from ccenv.envs.rendering import small_png_uri
from ccenv.networks.core.mlp import GatedMLP
from ccenv.runs.replay.rebuilt import Walked, check_finished
from ccenv.runs.report import inputs as views
from ccenv.runs.report import publish as pages
from ccenv.runs.report.inputs import blocks_seen, floats, network_view

NUM_INPUTS = 100


def network_of(activation, head):
    torch.manual_seed(3)
    network = GatedMLP(12, (3, 5), (4, 2), num_classes=6, activation=activation, head_units=head)
    for parameter in network.parameters():
        parameter.data.normal_(std=0.6)
    return network


def answers_of(network, inputs, masks):
    """Python's logits and MACs of each gate, block by block."""
    hidden, macs = network.start(inputs), []
    for gate, mask in enumerate(masks):
        macs.append(network.macs(gate, hidden, mask).tolist())
        hidden = network.step(gate, hidden, mask, backend="reference")
    return network.logits(hidden, "reference"), np.array(macs).T


def bits(mask):
    return ["".join("01"[bit] for bit in row) for row in mask.tolist()]


COMPARE = """
const found = cases.map(({network, values, masks}) => {
  const own = ccenvMLP.load(network);
  return values.map((x, i) => ccenvMLP.run(own, ccenvMLP.floats(x), masks.map(m => m[i])));
});
document.body.dataset.said = JSON.stringify(found);
"""


@needs_browser
def test_the_page_computes_what_python_does_for_any_input_and_masks(tmp_path):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(NUM_INPUTS, 12, generator=generator)
    masks = [torch.rand(NUM_INPUTS, n, generator=generator) < 0.5 for n in (3, 5)]
    networks = [network_of("tanh", ()), network_of("relu", (7,))]
    cases = [
        {
            "network": network_view(network)[0],
            "values": [floats(row) for row in inputs],
            "masks": [bits(mask) for mask in masks],
        }
        for network in networks
    ]
    script = f"{pages.own_file('inputs.js')}\nconst cases = {json.dumps(cases)};\n{COMPARE}"
    found, console = said_by(f"<body><script>{script}</script></body>", tmp_path)
    assert "CONSOLE" not in console
    for network, runs in zip(networks, found, strict=True):
        logits, macs = answers_of(network, inputs, masks)
        theirs = torch.tensor([run["logits"] for run in runs])
        torch.testing.assert_close(theirs, logits.detach(), rtol=1e-5, atol=1e-5)
        assert [run["macs"] for run in runs] == macs.tolist()


EVIL = "<img src=x onerror=alert(1)>"


def view_of_a_network(name):
    """A view as of a run with one input, all kept."""
    network = network_of("tanh", ())
    inputs, masks = torch.rand(1, 12), [torch.ones(1, n, dtype=torch.bool) for n in (3, 5)]
    logits, macs = answers_of(network, inputs, masks)
    agent = {"name": name, "agent": name, "network": network_view(network)[0], "why": ""}
    agent |= {"dense_macs": network.dense_macs, "policy_macs": [4, 4]}
    agent["gates"] = [{"name": name, "blocks": n, "skipped": "zero"} for n in (3, 5)]
    walked = Walked(inputs, torch.ones(1).long(), tuple(masks), macs, logits, torch.zeros(1))
    agent["seen"] = blocks_seen(walked)
    run = {"masks": ["111", "11111"], "macs": macs[0].tolist(), "logits": logits[0].tolist()}
    picture = small_png_uri(inputs[0].numpy(), 32)
    own = {"index": 0, "label": 1, "picture": picture, "values": floats(inputs[0]), "runs": [run]}
    orders = {"as they come": [0]}
    return {"dataset": name, "masks": "mode", "agents": [agent], "orders": orders, "inputs": [own]}


SWITCH = """
<script>
addEventListener("load", () => {
  const text = () => document.querySelector(".run").innerText;
  const before = text();
  document.querySelector(".block").click();
  const after = text();
  document.querySelector(".run .plain").click();
  document.body.dataset.said = JSON.stringify({before, after, back: text(),
    broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).length,
    images: document.images.length});
});
</script>
"""


@needs_browser
def test_a_switched_block_changes_cost_and_names_stay_text(tmp_path):
    page = pages.input_page(view_of_a_network(EVIL))
    assert EVIL not in page
    said, console = said_by(page, tmp_path, SWITCH)
    assert "CONSOLE" not in console
    assert EVIL in said["before"]
    assert "cost 1 of the dense" in said["before"]
    # 12 inputs and 10 units of the next layer are spared for each of its 4 units.
    assert "switched by hand: 88 MACs fewer" in said["after"]
    assert said["back"] == said["before"]
    # The input twice, and what each of 8 blocks sees.
    assert (said["images"], said["broken"]) == (2 + 8, 0)


def test_a_block_sees_the_mean_of_the_inputs_for_which_it_is_computed():
    inputs = torch.tensor([[0.0] * 4, [1.0] * 4, [0.5] * 4])
    mask = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 1, 0]]).bool()
    labels = torch.tensor([0, 1, 2])
    walked = Walked(inputs, labels, (mask,), mask, inputs, inputs[:, 0])
    [[some, every, none]] = blocks_seen(walked)
    assert some["picture"] == small_png_uri(np.full(4, 0.25, np.float32), 32)
    assert every["picture"] == small_png_uri(np.full(4, 0.5, np.float32), 32)
    assert (some["share"], some["classes"]) == (0.667, [0, 2])
    assert (every["share"], every["classes"]) == (1.0, [])
    assert none == {"share": 0.0, "classes": []}


def test_networks_that_a_page_cannot_run_are_shown_still_and_said_so(monkeypatch):
    monkeypatch.setattr(views, "MOST_WEIGHTS", 50)
    network, why = network_view(network_of("tanh", ()))
    assert network is None
    assert "too many for a page" in why
    network, why = network_view(torch.nn.Linear(2, 2))
    assert network is None
    assert "fully connected networks alone" in why


def test_a_run_without_its_weights_is_refused(tmp_path):
    for name in ("config.json", "result.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match=r"got none of checkpoint/agent\.safetensors"):
        check_finished(tmp_path)
