"""Laws of the slider of prices: a page shows what Python found at each judged price."""

import torch
from browser import needs_browser, said_by

from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.runs.config.settings import make_plan
from ccenv.runs.replay.rebuilt import Rebuilt, walk_inputs
from ccenv.runs.report import inputs
from ccenv.runs.report import publish as pages

SMALL = {"dataset": "digits", "num_blocks": [6, 4], "block_size": 4, "weights": "cotrain"}
BOTH = {"cost_weight": [0.05, 5.0], "budget": [0.3, 1.0]}
"""The second name is fixed in the middle of its range, and binds there."""
PLACE = 1
"""On the slider, of a judged price."""


def run_of(settings):
    """A run whose policy has learned nothing, but tells prices and inputs apart."""
    plan = make_plan("reinforce", SMALL | settings | {"batch_size": 8})
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
    run = run_of({"context": BOTH, "hidden_units": 5})
    view = inputs.view_of({"a": run}, "mode")
    said, console = said_by(pages.input_page(view), tmp_path, SLIDE)
    assert "CONSOLE" not in console
    price = view["agents"][0]["price"]
    assert said["judged"] == len(price["values"])
    error = 100 * price["verdicts"][PLACE]["error"]
    assert f"error {float(f'{error:.3g}'):g} %" in said["said"]
    assert said["before"] != said["after"]
    theirs = walk_inputs(run, "mode", price["fixed"] | {price["name"]: price["values"][PLACE]})
    first = ["".join("01"[bit] for bit in mask[0].tolist()) for mask in theirs.masks]
    assert said["after"] == "".join(first)


def test_a_run_of_one_price_has_no_slider():
    plain = inputs.view_of({"a": run_of({})}, "mode")
    assert plain["agents"][0]["price"] is None
    assert "prices" not in plain["inputs"][0]["runs"][0]
