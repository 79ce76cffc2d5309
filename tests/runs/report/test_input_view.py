"""Laws of the page of single inputs: it computes what Python does, and shows names as text.

Its slider shows what Python found at each judged price.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import needs_browser, said_by

from ccenv.envs.rendering import small_png_uri
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.networks.core.mlp import GatedMLP
from ccenv.runs.config.settings import make_plan
from ccenv.runs.replay.rebuilt import Rebuilt, WalkedInputs, check_finished, walk_inputs
from ccenv.runs.report import inputs as views
from ccenv.runs.report import publish as pages
from ccenv.runs.report.inputs import blocks_seen, floats, network_view

NUM_INPUTS = 100
SMALL = {"dataset": "digits", "num_blocks": [6, 4], "block_size": 4, "weights": "cotrain"}
BOTH = {"cost_weight": [0.05, 5.0], "budget": [0.3, 1.0]}
"""The second name is fixed in the middle of its range, and binds there."""
PLACE = 1
"""On the slider, of a judged price."""


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
    own = Path(pages.__file__).with_name("inputs.js").read_text()
    script = f"{own}\nconst cases = {json.dumps(cases)};\n{COMPARE}"
    found, console = said_by(f"<body><script>{script}</script></body>", tmp_path)
    assert "CONSOLE" not in console
    for network, runs in zip(networks, found, strict=True):
        logits, macs = answers_of(network, inputs, masks)
        theirs = torch.tensor([run["logits"] for run in runs])
        torch.testing.assert_close(theirs, logits.detach(), rtol=1e-5, atol=1e-5)
        assert [run["macs"] for run in runs] == macs.tolist()


EVIL = "<img src=x onerror=alert(1)>"


def run_of(agent, **settings):
    """A run of which nothing has learned."""
    plan = make_plan(agent, SMALL | settings | {"batch_size": 8})
    env = BlockSelectionVectorEnv(8, **plan.environment)
    env.reset(seed=0)
    agent = plan.agent_class(env, seed=0, **plan.agent_settings)
    return Rebuilt(plan, env, agent, True, None, {}, {})


def view_named(name):
    """A view of one input of a run that keeps all, with this name for all that has one."""
    view = views.view_of({name: run_of("dense")}, True)
    for gate in view["agents"][0]["gates"]:
        gate["name"] = name
    return view | {"dataset": name, "orders": {"one": [0]}, "inputs": view["inputs"][:1]}


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
    page = pages.input_page(view_named(EVIL))
    assert EVIL not in page
    said, console = said_by(page, tmp_path, SWITCH)
    assert "CONSOLE" not in console
    assert EVIL in said["before"]
    assert "cost 1 of the dense" in said["before"]
    # 64 inputs and 16 units of the next layer are spared for each of its 4 units.
    assert "switched by hand: 320 MACs fewer" in said["after"]
    assert said["back"] == said["before"]
    # The input twice, and what each of 10 blocks sees.
    assert (said["images"], said["broken"]) == (2 + 10, 0)


def test_a_block_sees_the_mean_of_the_inputs_for_which_it_is_computed():
    inputs = torch.tensor([[0.0] * 4, [1.0] * 4, [0.5] * 4])
    mask = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 1, 0]]).bool()
    labels = torch.tensor([0, 1, 2])
    walked = WalkedInputs(inputs, labels, (mask,), mask, inputs, inputs[:, 0])
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


def priced_run(**settings):
    """A run whose policy has learned nothing, but tells prices and inputs apart."""
    run, generator = run_of("reinforce", **settings), torch.Generator().manual_seed(1)
    for parameter in run.agent.scores.parameters():
        parameter.data.normal_(generator=generator)
    for layer in range(len(run.agent.scores.layers)):
        # Prices, seen before all else, are what tells masks apart most.
        run.agent.scores.maps(layer)[0][0].data[:, :2] *= 6
    return run


SLIDE = """
<script>
addEventListener("load", () => {
  const lit = () => [...document.querySelectorAll(".run .block")]
    .map(b => b.ariaPressed === "true" ? "1" : "0").join("");
  const before = lit();
  const slider = document.querySelector("input[type=range]");
  slider.value = PLACE;
  slider.dispatchEvent(new Event("input"));
  document.body.dataset.said = JSON.stringify({
    before, after: lit(), said: document.querySelector("output").innerText,
    judged: document.querySelectorAll(".front circle").length,
  });
});
</script>
""".replace("PLACE", str(PLACE))


@needs_browser
def test_a_page_shows_at_each_price_what_python_found_there(tmp_path):
    run = priced_run(context=BOTH, hidden_units=5)
    view = views.view_of({"a": run}, True)
    said, console = said_by(pages.input_page(view), tmp_path, SLIDE)
    assert "CONSOLE" not in console
    price = view["agents"][0]["price"]
    assert said["judged"] == len(price["values"])
    error = 100 * price["verdicts"][PLACE]["error"]
    assert f"error {float(f'{error:.3g}'):g} %" in said["said"]
    assert said["before"] != said["after"]
    theirs = walk_inputs(run, True, price["fixed"] | {price["name"]: price["values"][PLACE]})
    first = ["".join("01"[bit] for bit in mask[0].tolist()) for mask in theirs.masks]
    assert said["after"] == "".join(first)


def test_a_run_of_one_price_has_no_slider():
    plain = views.view_of({"a": run_of("reinforce")}, True)
    assert plain["agents"][0]["price"] is None
    assert len(plain["inputs"][0]["runs"][0]) == 1
