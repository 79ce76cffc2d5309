"""Exported classifiers: the same answers as in the environment, saved and loaded without pickle."""

import contextlib
import dataclasses
import itertools
import json
import math
import zipfile

import pytest
import torch
from safetensors import safe_open

from ccenv.agents import AGENTS
from ccenv.agents.base import Agent
from ccenv.agents.distributions import IndependentBlocks, keep_probability
from ccenv.agents.reinforce import Reinforce
from ccenv.agents.sb3 import A2CAgent
from ccenv.annexes.deploy import export_content
from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.deploy.onnx_file import executed
from ccenv.annexes.tasks.probe import PROBE_SETTINGS
from ccenv.base.checked_file import load_tree, save_tree
from ccenv.base.registry import resolve
from ccenv.base.seeding import stream
from ccenv.data import load_split
from ccenv.networks.core.mlp import GatedMLP
from ccenv.runs.commands import train
from ccenv.runs.config.agent_settings import agent_parameters
from ccenv.runs.store import folder
from ccenv.simulator.evaluate import evaluate
from ccenv.simulator.rollout import walk
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import UNEVEN as SMALL
from tests.ccenv.episodes import seeded

UNEVEN = SMALL | {"head_units": (6,)}
SETTINGS = {
    "rloo": {"num_kept": 1},
    "sb3_ppo": {"num_minibatches": 2},
    "topk": {"num_kept": 1, "bias_rate": 0.5},
    "dynamic_gate": {"num_kept": (2, 1)},
    "act": {"halting_bias": -1.0},
    "confidence": {"stop_shares": 0.6},
    "allocation": {"cost_limit": 0.8},
}
EXITS = {
    "dataset": "digits",
    "network": "early_exit",
    "network_kwargs": {"units": [8, 8, 8]},
    "weights": "cotrain",
}
# They have nothing to decide but at exits, or in a stream.
ENVIRONMENTS = {
    **dict.fromkeys(("act", "pondernet", "confidence", "allocation"), EXITS),
    "entropy_threshold": {"dataset": "digits", "network": "streaming", "weights": "cotrain"},
}
EXPORTABLE = [name for name in AGENTS if not resolve(name, AGENTS, "agent").uses_labels]


def make_agent(name, env_settings=None, images=96, **settings):
    agent_class = resolve(name, AGENTS, "agent")
    wanted = {**(env_settings or ENVIRONMENTS.get(name, UNEVEN)), **agent_class.env_defaults}
    simulator = seeded(16 * wanted.get("group_size", 1), **wanted)
    agent = agent_class(simulator, **(SETTINGS.get(name, {}) | settings))
    agent.learn(images)
    return agent


def in_environment(agent, generator, simulator=None):
    """Images, logits and masks of the test split, as the environment computes them."""
    test = (simulator or agent.simulator).on_split("test", 100)
    indices = torch.arange(100)
    _, _, steps = walk(test, agent, generator, indices)
    return test.data.batch(indices)[0], steps[-1].outcome.logits, [s.outcome.mask for s in steps]


@pytest.mark.parametrize("name", EXPORTABLE)
def test_an_exported_agent_answers_as_it_does_in_the_environment_bit_for_bit(name, tmp_path):
    agent = make_agent(name)
    classifier = SkippingClassifier.from_agent(agent, **SETTINGS.get(name, {}))
    classifier.save(tmp_path / "classifier.safetensors")
    loaded = SkippingClassifier.load(tmp_path / "classifier.safetensors")
    for seed in (None, 0, 1):
        draws = [None if seed is None else stream(seed, "draws") for _ in range(3)]
        images, logits, masks = in_environment(agent, draws[0])
        for one, draw in ((classifier, draws[1]), (loaded, draws[2])):
            found, chosen = one.classify(images, draw, deterministic=draw is None)
            assert torch.equal(found, logits)
            gates = agent.simulator.network.gates
            assert torch.equal(executed(gates, chosen), executed(gates, masks))
    assert torch.equal(loaded(images), classifier(images.flatten(1)))
    assert loaded.policy_macs == list(agent.policy_macs)


def stored_bytes(split):
    part = load_split("synthetic", split)
    return dataclasses.replace(part, images=part.images.mul(255).round().to(torch.uint8))


@pytest.mark.parametrize(
    ("names", "observation"),
    [
        ("", "layer_input"),
        ("standardise", "summary"),
        ("halve", "layer_input"),
        ("copies=2,shift=2,mirror,halve,standardise", "summary"),
    ],
)
@pytest.mark.parametrize("dataset", ["synthetic", stored_bytes])
def test_an_exported_one_takes_images_as_they_are_stored_and_transforms_them_itself(
    dataset, names, observation, tmp_path
):
    settings = {"dataset": dataset, "transforms": names, "observation": observation}
    agent = make_agent("reinforce", UNEVEN | settings)
    SkippingClassifier.from_agent(agent).save(tmp_path / "file")
    classifier = SkippingClassifier.load(tmp_path / "file")
    _, logits, _ = in_environment(agent, None)
    stored = load_split(dataset, "test").images[:100]
    pixels = stored / 255 if stored.dtype == torch.uint8 else stored
    assert torch.equal(classifier(pixels, deterministic=True), logits)
    assert torch.equal(classifier(pixels.flatten(1), deterministic=True), logits)
    assert torch.equal(classifier(stored, deterministic=True), logits)
    fused = classifier.fuse(deterministic=True)
    torch.testing.assert_close(fused(pixels)[0], logits)
    if names:
        torch.testing.assert_close(fused(stored)[0], logits)


SHAPE = r"images \[batch, 1, 16, 16\]"
FLOATS, BYTES = torch.zeros(3, 1, 16, 16), torch.zeros(3, 1, 16, 16, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("stored", "images", "kind", "message"),
    [
        ("floats", FLOATS - math.inf, ValueError, "finite numbers in images, got NaN or infinity"),
        ("bytes", FLOATS * math.nan, ValueError, "finite numbers in images, got NaN or infinity"),
        (
            "shares",
            FLOATS + 255,
            ValueError,
            r"pixels in \[0, 1\], got 255\.0 to 255\.0; give bytes",
        ),
        ("bytes", torch.zeros(3, 1, 8, 8), ValueError, f"{SHAPE}, as the data set stores"),
        ("floats", torch.zeros(256), ValueError, SHAPE),
        ("floats", torch.zeros(2, 100), ValueError, SHAPE),
        ("floats", BYTES, TypeError, r"expected float32 images, got torch\.uint8"),
        ("bytes", FLOATS.double(), TypeError, r"or uint8 ones, got torch\.float64"),
        ("bytes", FLOATS + 255, ValueError, r"pixels in \[0, 1\], got 255\.0 to 255\.0"),
    ],
)
def test_images_that_the_data_set_does_not_store_are_refused(stored, images, kind, message):
    dataset = "synthetic" if stored == "floats" else stored_bytes
    transforms = "standardise" if stored == "shares" else "halve"
    agent = make_agent("dense", UNEVEN | {"dataset": dataset, "transforms": transforms})
    with pytest.raises(kind, match=message):
        SkippingClassifier.from_agent(agent)(images)


def test_a_file_that_names_a_transform_of_chance_is_refused(tmp_path):
    content = dict(SkippingClassifier.from_agent(make_agent("dense")).content)
    for name in ("mirror", "copies"):
        content["images"] = content["images"] | {"transforms": [{"name": name, "tensors": ()}]}
        save_tree(tmp_path / "file", content)
        with pytest.raises(ValueError, match=f"a transform without chance, got '{name}'"):
            SkippingClassifier.load(tmp_path / "file")


@pytest.mark.parametrize("context", [{"cost_weight": (0.1, 2.0)}, {"budget": (0.4, 0.9)}])
def test_an_agent_of_many_prices_or_budgets_is_told_which_when_it_is_used(context, tmp_path):
    agent = make_agent("reinforce", UNEVEN | {"context": context})
    SkippingClassifier.from_agent(agent).save(tmp_path / "file")
    classifier = SkippingClassifier.load(tmp_path / "file")
    ((name, _),) = context.items()
    for value in (0.45, 0.8):
        fixed = agent.simulator.at(**{name: value})
        images, logits, masks = in_environment(agent, stream(0, "x"), fixed)
        found, chosen = classifier.classify(images, stream(0, "x"), **{name: value})
        assert torch.equal(found, logits)
        assert all(torch.equal(a, b) for a, b in zip(chosen, masks, strict=True))
    with pytest.raises(ValueError, match=f"expected {name}="):
        classifier(images)
    with pytest.raises(ValueError, match="expected no context"):
        SkippingClassifier.from_agent(make_agent("dense"))(images, budget=0.5)


def test_settings_stay_as_they_were_given_though_sb3_writes_into_them():
    settings = {"use_rms_prop": True, "policy_kwargs": {"net_arch": [8]}}
    before = repr((settings, A2CAgent.defaults))
    SkippingClassifier.from_agent(make_agent("sb3_a2c", **settings), **settings)
    make_agent("sb3_a2c", use_rms_prop=True)
    assert repr((settings, A2CAgent.defaults)) == before


def test_the_copy_stays_as_it_is_while_the_agent_goes_on_learning():
    agent = make_agent("reinforce", learning_rate=0.5)
    classifier = SkippingClassifier.from_agent(agent, learning_rate=0.5)
    images, _, _ = in_environment(agent, None)
    before = classifier(images)
    agent.learn(96)
    assert torch.equal(classifier(images), before)
    assert not torch.equal(SkippingClassifier.from_agent(agent, learning_rate=0.5)(images), before)


def test_a_file_holds_no_pickle(tmp_path):
    path = tmp_path / "file"
    SkippingClassifier.from_agent(make_agent("sb3_ppo"), num_minibatches=2).save(path)
    assert not zipfile.is_zipfile(path)
    with safe_open(path, framework="pt") as file:
        assert set(file.metadata()) == {"tree", "sha256"}
        json.loads(file.metadata()["tree"])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.fixture(scope="module")
def plain():
    """An agent, and the content of its file; not to be changed."""
    agent = make_agent("reinforce")
    return agent, SkippingClassifier.from_agent(agent).content


def with_name(path, content, place, name):
    """Writes a file that names something else as its agent or its network."""
    part, key = place
    save_tree(path, content | {part: content[part] | {key: name}})


AGENT, NETWORK = ("agent", "class"), ("network", "builder")
MISFITS = [
    (AGENT, "ccenv.agents.reinforce:Reinforse", "did you mean 'Reinforce'"),
    (AGENT, "ccenv.agents.reinforce:dataclass", "to be defined in ccenv.agents"),
    (AGENT, "ccenv.simulator.evaluate:evaluate", "expected an agent's class"),
    (NETWORK, "ccenv.base.checked_file:save_file", "to be defined in ccenv.base"),
    (NETWORK, "ccenv.base.checked_file:save_tree", "expected a builder of networks"),
]


@pytest.mark.parametrize(("place", "name", "message"), MISFITS)
def test_what_a_trusted_module_gives_must_still_be_an_agent_or_a_builder_of_its_own(
    plain, place, name, message, tmp_path
):
    with_name(tmp_path / "file", plain[1], place, name)
    with pytest.raises(ValueError, match=message):
        SkippingClassifier.load(tmp_path / "file", trust=("ccenv",))


def test_a_file_that_names_modules_as_they_were_called_before_still_loads(plain, tmp_path):
    (agent, content), path = plain, tmp_path / "file"
    assert content["agent"]["class"] == "ccenv.agents.reinforce:Reinforce"
    with_name(path, content, AGENT, "ccenv.agents.of_earlier:Reinforce")
    with_name(path, load_tree(path), NETWORK, "ccenv.networks.mlp:GatedMLP")
    images, logits, _ = in_environment(agent, None)
    assert torch.equal(SkippingClassifier.load(path)(images, deterministic=True), logits)


def parts_below(node, at=()):
    """Where everything in nested content stands."""
    inner = node.items() if isinstance(node, dict) else ()
    for key, value in inner:
        yield (*at, key)
        yield from parts_below(value, (*at, key))


def changed(node, at, values):
    """A copy in which a part is another value, or is left out where there is none."""
    first, *rest = at
    own = [changed(node[first], rest, values)] if rest else values
    return {n: v for n, v in node.items() if n != first} | dict(zip([first], own, strict=False))


SPARED = ("draw", "validation_error", "kwargs", "are_symbols", "num_blocks", "head_units")
SPARED += ("activation", "mode", "sampled", *agent_parameters(Reinforce)[0])
"""What may have a default."""


def test_a_file_without_a_part_or_with_another_in_its_place_is_refused_in_words(tmp_path):
    agent, path = make_agent("reinforce", UNEVEN | {"transforms": "standardise"}), tmp_path / "file"
    content = SkippingClassifier.from_agent(agent).content
    odd = itertools.cycle((None, "x", {}, 10**30))
    for at in parts_below(content):
        save_tree(path, changed(content, at, []))
        spared = contextlib.suppress(ValueError)
        with spared if at[-1] in SPARED else pytest.raises(ValueError, match="expected"):
            SkippingClassifier.load(path)
        save_tree(path, changed(content, at, [next(odd)]))
        with contextlib.suppress(ValueError):
            SkippingClassifier.load(path)


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, [1] * 99) for name in ("num_blocks", "head_units")]
    + [("num_blocks", 10**5), ("head_units", 10**7)],
)
def test_a_file_that_asks_for_many_layers_or_larger_ones_than_its_weights_is_refused(
    name, size, plain, tmp_path, monkeypatch
):
    sizes = plain[1]["network"]["sizes"] | {"block_size": 4, name: size}
    save_tree(tmp_path / "file", changed(plain[1], ("network", "sizes"), [sizes]))
    monkeypatch.setattr(export_content, "MOST_PARTS", 100)
    with pytest.raises(ValueError, match="expected at most 100 layers and weights, and no more"):
        SkippingClassifier.load(tmp_path / "file")


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        SkippingClassifier.load(tmp_path / "none")
    (tmp_path / "text").write_text("nonsense")
    save_tree(tmp_path / "tree", {"format": "another"})
    for name in ("text", "tree"):
        with pytest.raises(ValueError, match=str(tmp_path / name)):
            SkippingClassifier.load(tmp_path / name)


class Table(Agent):
    """Learns one keep probability for each block."""

    def __init__(self, env, *, seed=0, start=0.0):
        super().__init__(env, seed=seed)
        self.scores = [torch.full((n,), start, requires_grad=True) for n in self.num_blocks]

    def distribution(self, observation, layer):
        return IndependentBlocks(keep_probability(self.scores[layer]).expand(len(observation), -1))

    def update(self, rollout):
        with torch.no_grad():
            for score in self.scores:
                score += 1.0
        return {}


class Hidden(Table):
    def parameters(self):
        return {}


class Centred(GatedMLP):
    def gated_layer(self, index, x, in_mask, out_mask, backend="auto"):
        return super().gated_layer(index, x - 0.5 if index == 0 else x, in_mask, out_mask, backend)


def test_agent_and_network_of_the_users_module_are_exported_without_a_line_about_it(
    tmp_path,
):
    agent = make_agent(f"{__name__}:Table", UNEVEN | {"network": f"{__name__}:Centred"}, start=-2.0)
    SkippingClassifier.from_agent(agent, start=-2.0).save(tmp_path / "file")
    images, logits, _ = in_environment(agent, stream(0, "x"))
    with pytest.raises(ValueError, match=f"trust=\\('{__name__}',\\)"):
        SkippingClassifier.load(tmp_path / "file")
    loaded = SkippingClassifier.load(tmp_path / "file", trust=(__name__,))
    assert torch.equal(loaded(images, stream(0, "x")), logits)


def test_what_cannot_be_exported_says_why():
    with pytest.raises(ValueError, match="looks at the true label"):
        SkippingClassifier.from_agent(make_agent("oracle", images=0))
    with pytest.raises(ValueError, match=r"parameters\(\) hold all"):
        SkippingClassifier.from_agent(make_agent(f"{__name__}:Hidden"))
    with pytest.raises(ValueError, match="settings that it was built with"):
        SkippingClassifier.from_agent(make_agent("block_dropout", keep_probability=0.9))
    with pytest.raises(ValueError, match=r"num_kept in 1\.\."):
        SkippingClassifier.from_agent(make_agent("rloo"), num_kept=9)
    module = GatedMLP(256, (3, 5), (4, 2), 10)
    with pytest.raises(ValueError, match="of a function that builds it"):
        SkippingClassifier.from_agent(make_agent("dense", UNEVEN | {"network": module}))
    relu = UNEVEN | {"activation": torch.relu}
    with pytest.raises(ValueError, match="no name and no number"):
        SkippingClassifier.from_agent(make_agent("dense", relu))


def test_a_run_leaves_a_classifier_when_asked_and_says_why_it_cannot(tmp_path, capsys):
    settings = PROBE_SETTINGS | {"images": 256, "batch_size": 64}
    pairs = [f"{k}={str(v).replace(' ', '')}" for k, v in settings.items()]
    for status, agent in enumerate(("reinforce", "oracle")):
        assert train.main([agent, *pairs, f"log_dir={tmp_path}", "--export"]) == status
    assert capsys.readouterr().err.count("no classifier exported") == 1
    (path,) = tmp_path.glob("*/*/*/*/*/checkpoint/classifier.safetensors")
    result = folder.read_result(path.parent.parent)
    classifier = SkippingClassifier.load(path)
    data = Simulator(1, **PROBE_SETTINGS).on_split("test", 1).data
    images, labels = data.batch(torch.arange(len(data)))
    wrong = (classifier(images, deterministic=True).argmax(dim=1) != labels).float().mean().item()
    assert wrong == pytest.approx(result["evaluations"][1]["error"])
    # What a run says of its validation images, the file says too.
    errors = {e["mode"]: e["error"] for e in result["evaluations"] if e["split"] == "validation"}
    assert classifier.content["validation_error"] == pytest.approx(errors)


@pytest.mark.parametrize("start", [-1.0, 3.0])
def test_a_classifier_chooses_as_had_fewer_errors_on_validation_images(start, tmp_path):
    # Below one half no block is probable: the most probable masks keep nothing.
    settings = PROBE_SETTINGS | {"num_blocks": (4, 4), "block_size": 2}
    agent = make_agent(f"{__name__}:Table", settings, images=0, start=start)
    SkippingClassifier.from_agent(agent, start=start).save(tmp_path / "file")
    classifier = SkippingClassifier.load(tmp_path / "file", trust=(__name__,))
    errors = {
        greedy: evaluate(agent.simulator, agent, split="validation", deterministic=greedy).error
        for greedy in (True, False)
    }
    assert errors[False] != errors[True]
    assert classifier.content["validation_error"] == {
        "mode": errors[True],
        "sampled": errors[False],
    }
    assert classifier.deterministic == (start > 0) == min(errors, key=errors.get)
    assert classifier.content["draw"] == classifier.draw == ("sampled" if start < 0 else "mode")
    images = torch.rand(40, *classifier.image_shape, generator=stream(0, "images"))
    chosen, greedy = classifier(images), classifier.deterministic
    assert torch.equal(chosen, classifier(images, deterministic=greedy))
    assert torch.equal(chosen, classifier(images))
    assert not torch.equal(chosen, classifier(images, deterministic=not greedy))
    drawn = classifier(images, stream(1, "x"))
    assert torch.equal(drawn, classifier(images, stream(1, "x"), deterministic=False))
    assert not torch.equal(drawn, classifier(images, deterministic=True))
    for word in ("mode", "greedy", "sampled", None):
        assert torch.equal(classifier(images, draw=word), chosen) == (
            word is None or (word != "sampled") == greedy
        )
    with pytest.raises(ValueError, match="did you mean 'sampled'"):
        classifier(images, draw="sample")
    with pytest.raises(TypeError, match="got both"):
        classifier(images, draw="sampled", deterministic=True)
    with pytest.raises(ValueError, match="with a generator"):
        classifier(images, stream(1, "x"), deterministic=True)


def test_images_classified_alone_are_not_all_drawn_alike():
    agent = make_agent(f"{__name__}:Table", images=0)
    classifier = SkippingClassifier.from_agent(agent)
    images = torch.rand(20, *classifier.image_shape, generator=stream(0, "images"))
    masks = [classifier.classify(one[None], deterministic=False)[1][1][0] for one in images]
    assert len({tuple(mask.tolist()) for mask in masks}) > 5


def test_a_file_of_before_takes_the_most_probable_masks(plain, tmp_path):
    agent, content = plain
    newer = ("draw", "validation_error")
    save_tree(tmp_path / "file", {n: part for n, part in content.items() if n not in newer})
    images, logits, _ = in_environment(agent, None)
    assert torch.equal(SkippingClassifier.load(tmp_path / "file")(images), logits)


@pytest.mark.parametrize("part", ["agent", "network"])
def test_a_file_that_was_altered_or_is_not_finite_is_refused(plain, part, tmp_path):
    path = tmp_path / "file"
    save_tree(path, plain[1])
    content = load_tree(path)
    whole = bytearray(path.read_bytes())
    whole[-10] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="was damaged or edited"):
        SkippingClassifier.load(path)
    next(iter(content[part]["tensors"].values())).fill_(torch.inf)
    save_tree(path, content)
    with pytest.raises(ValueError, match=f"finite weights of the {part}"):
        SkippingClassifier.load(path)


def test_a_policy_that_is_no_affine_map_is_not_fused():
    classifier = SkippingClassifier.from_agent(make_agent("magnitude"))
    with pytest.raises(ValueError, match="cannot fuse Magnitude"):
        classifier.fuse()


STRANGERS = [
    (AGENT, "ccenv.agents.reinforce:Reinforse"),
    (AGENT, "ccenv.networks.core.mlp:GatedMLP"),
    (NETWORK, "ccenv.base.checked_file:save_tree"),
    (NETWORK, "ccenv.agents.reinforce:Reinforce"),
]
"""What is not to be imported in a place of another kind; of others see `test_doors`."""


@pytest.mark.parametrize(("place", "name"), STRANGERS)
def test_of_what_a_file_names_only_entries_of_this_projects_tables_are_imported(
    plain, place, name, tmp_path
):
    with_name(tmp_path / "file", plain[1], place, name)
    with pytest.raises(ValueError, match="not imported"):
        SkippingClassifier.load(tmp_path / "file")
