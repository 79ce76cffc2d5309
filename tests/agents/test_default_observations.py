"""A default fits the data: no agent refuses its own default observation, whatever inputs are."""

import pytest
import torch

from ccenv.agents import AGENTS
from ccenv.envs.vector import BlockSelectionVectorEnv
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine.metadata import facts_of
from tests.ccenv.episodes import seeded

WINDOWS = {"dataset": "tests.ccenv.episodes:windows"}
SEQUENCES = {"dataset": "python_bundled@5"}
VECTORS = {"dataset": "staleness"}
OF_LM = {"depth": 2, "width": 8, "num_heads": 2, "ffn_width": 64, "num_experts": 4}
OF_PATCHES = {"width": 4, "num_heads": 2, "ffn_width": 3, "context": 2, "embedding_size": 2}
OF_MLP = {"network": "mlp", "num_blocks": [4, 3], "block_size": 4}
DATA = {
    "images": OF_MLP,
    "vectors": VECTORS | OF_MLP,
    "texts": WINDOWS | {"network": "bytes", "network_kwargs": {"num_blocks": 4, "block_size": 4}},
    "sequences": SEQUENCES | {"network": "lm", "network_kwargs": OF_LM, "episode": "sequence"},
}
"""Inputs, and a network that reads them."""
EXITS = {
    "images": {"network": "early_exit"},
    "vectors": VECTORS | {"network": "pondering"},
    "texts": SEQUENCES
    | {"network": "lm", "network_kwargs": OF_LM | {"gates": "exits", "repeats": 3}},
}
ENTROPIES = {
    "images": {"network": "streaming"},
    "vectors": VECTORS | {"network": "streaming"},
    "texts": WINDOWS | {"network": "patches", "network_kwargs": OF_PATCHES | {"patch_size": 3}},
    "sequences": SEQUENCES
    | {"network": "patches", "network_kwargs": OF_PATCHES | {"patch_size": 3}}
    | {"episode": "sequence"},
}
NEEDS = {"act": EXITS, "pondernet": EXITS, "entropy_threshold": ENTROPIES}
"""Agents that decide about a kind of gate alone."""
REFUSED = {("magnitude", "sequences"): "tells its blocks' norms"}
"""What is refused for another reason than what is shown."""


def built(name, kind):
    """The agent that `ccenv train NAME` makes for inputs of a kind, with its default settings."""
    small = {"weights": "cotrain", "images": 4, "batch_size": 4}
    plan = make_plan(name, small | NEEDS.get(name, DATA).get(kind, DATA[kind]))
    env = BlockSelectionVectorEnv(plan.num_envs, **plan.environment)
    env.reset(seed=0)
    return plan.agent_class(env, **plan.agent_settings)


def why_refused(name, kind):
    """What an agent does not do with inputs of a kind, whatever it is shown; or None."""
    learns, over_sequences = AGENTS[name].learns, AGENTS[name].sequences
    if kind == "sequences" and learns and not over_sequences:
        return "expected an agent that learns over sequences"
    return REFUSED.get((name, kind))


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("name", AGENTS)
def test_default_settings_build_and_run_an_episode(name, kind):
    if reason := why_refused(name, kind):
        with pytest.raises(ValueError, match=reason):
            built(name, kind)
        return
    agent, images = built(name, kind), []
    agent.learn(4, on_rollout=lambda images_seen, scalars: images.append(images_seen))
    assert images == [4]
    assert all(torch.isfinite(value).all() for value in agent.parameters().values())


@pytest.mark.parametrize("kind", DATA)
def test_a_summary_is_the_look_of_what_is_no_image_and_a_result_says_so(kind):
    given = DATA[kind] | {"weights": "cotrain"}
    summary, look = (seeded(4, **given, observation=name) for name in ("summary", "layer_input"))
    expected = "summary" if kind == "images" else "layer_input"
    assert summary.observe.kind == expected
    assert torch.equal(summary.begin(), look.begin()) == (expected == "layer_input")
    agent = built("rloo", kind)
    assert facts_of(agent.env, agent)["observed"] == expected
