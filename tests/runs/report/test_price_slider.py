"""Laws of the slider of prices: a page finds the masks that Python does, at any price."""

import torch
from browser import needs_browser, said_by

from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.runs.config.settings import make_plan
from ccenv.runs.replay.rebuilt import Rebuilt, walk_inputs
from ccenv.runs.report import inputs
from ccenv.runs.report import publish as pages

NUM_INPUTS = 100
SMALL = {"dataset": "digits", "num_blocks": [6, 4], "block_size": 4, "weights": "cotrain"}
BOTH = {"cost_weight": [0.05, 5.0], "budget": [0.3, 1.0]}
CASES = {
    # The second name is fixed in the middle of its range, and binds there.
    "independent blocks": ("reinforce", {"context": BOTH, "hidden_units": 5}),
    # Its observation is the summary of an image.
    "the best of them, at a budget": (
        "topk",
        {"context": {"budget": [0.3, 0.9], "distribution": "uniform"}, "num_kept": 3},
    ),
}
BETWEEN = 0.6
"""A position on the slider, between the first judged price and the second."""


def run_of(agent, settings):
    """A run whose policy has learned nothing, but tells prices and inputs apart."""
    plan = make_plan(agent, SMALL | settings | {"batch_size": 8})
    env = BlockSelectionVectorEnv(8, **plan.environment)
    env.reset(seed=0)
    learner = plan.agent_class(env, seed=0, **plan.agent_settings)
    generator = torch.Generator().manual_seed(1)
    for parameter in learner.scores.parameters():
        parameter.data.normal_(generator=generator)
    for layer in range(len(learner.scores.layers)):
        # Prices, seen before all else, are what tells masks apart most.
        learner.scores.maps(layer)[0][0].data[:, :2] *= 6
    return Rebuilt(plan, env, learner, True, None, {})


SLIDE = """
<script>
addEventListener("load", () => {
  const view = JSON.parse(document.querySelector(".inputs script").textContent);
  const [agent] = view.agents;
  agent.loaded = ccenvMLP.load(agent.network);
  agent.price = ccenvPrice.load(agent.price);
  agent.price.position = BETWEEN;
  const lit = () => [...document.querySelectorAll(".run .block")].map(b => b.ariaPressed).join();
  const before = lit();
  const slider = document.querySelector("input[type=range]");
  slider.value = BETWEEN;
  slider.dispatchEvent(new Event("input"));
  document.body.dataset.said = JSON.stringify({
    found: view.inputs.map(input => ccenvPrice.outcome(agent, input, input.runs[0])),
    price: ccenvPrice.now(agent.price), before, after: lit(),
    said: document.querySelector("output").innerText,
    judged: document.querySelectorAll(".front circle").length,
  });
});
</script>
""".replace("BETWEEN", str(BETWEEN))


@needs_browser
def test_a_page_chooses_masks_at_any_price_as_python_does(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "NUM_SHOWN", NUM_INPUTS)
    runs = {name: run_of(*case) for name, case in CASES.items()}
    for number, (name, run) in enumerate(runs.items()):
        view = inputs.view_of({name: run}, "mode")
        (folder := tmp_path / str(number)).mkdir()
        said, console = said_by(pages.input_page(view), folder, SLIDE)
        assert "CONSOLE" not in console
        price = view["agents"][0]["price"]
        assert price["values"][0] < said["price"] < price["values"][1]
        assert said["judged"] == len(price["values"])
        error = 100 * price["verdicts"][1]["error"]
        assert f"error {float(f'{error:.3g}'):g} %" in said["said"]
        assert said["before"] != said["after"]
        theirs = walk_inputs(run, "mode", price["fixed"] | {price["name"]: said["price"]})
        indices = [one["index"] for one in view["inputs"]]
        for gate, masks in enumerate(theirs.masks):
            expected = ["".join("01"[bit] for bit in row) for row in masks[indices].tolist()]
            assert [one["masks"][gate] for one in said["found"]] == expected
            assert len(set(expected)) > 1
        assert [one["macs"] for one in said["found"]] == theirs.macs[indices].tolist()
        logits = torch.tensor([one["logits"] for one in said["found"]])
        torch.testing.assert_close(logits, theirs.logits[indices], rtol=1e-5, atol=1e-5)


def test_where_a_page_cannot_choose_masks_the_slider_has_judged_prices_alone(monkeypatch):
    run = run_of(*CASES["independent blocks"])
    drawn = inputs.view_of({"a": run}, "sampled")
    assert drawn["agents"][0]["price"]["policy"] is None
    monkeypatch.setattr(inputs, "MOST_WEIGHTS", 50)
    still = inputs.view_of({"a": run}, "mode")
    assert still["agents"][0]["price"]["policy"] is None
    assert len(still["inputs"][0]["runs"][0]["prices"]) == len(
        still["agents"][0]["price"]["values"]
    )
    plain = inputs.view_of({"a": run_of("reinforce", {})}, "mode")
    assert plain["agents"][0]["price"] is None
    assert "prices" not in plain["inputs"][0]["runs"][0]
