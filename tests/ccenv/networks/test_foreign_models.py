"""Models of transformers, timm and torch, gated as they are; random weights, no download."""

import contextlib
import re

import pytest
import torch
from torch import nn

from ccenv.agents.rloo import Rloo
from ccenv.annexes.networks.gating.gate import gate
from ccenv.annexes.networks.gating.gateable import gateable
from ccenv.annexes.networks.gating.gated_module import GatedModule
from ccenv.networks.core.check import check_network
from ccenv.networks.core.count_macs import counted
from tests.ccenv.episodes import seeded
from tests.ccenv.networks.own_models import made

TOKENS = torch.arange(12).reshape(2, 6)
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
TEXT = {"vocab_size": 20, "bos_token_id": 0, "eos_token_id": 0}


def from_transformers(model, config, **settings):
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    return getattr(library, model)(getattr(library, config)(**settings))


def gpt2(**settings):
    sizes = {"n_layer": 3, "n_embd": 16, "n_head": 2, "n_positions": 8}
    return from_transformers("GPT2LMHeadModel", "GPT2Config", **TEXT, **sizes, **settings)


def llama(**settings):
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8}
    given = TEXT | SIZES | heads | settings
    return from_transformers("LlamaForCausalLM", "LlamaConfig", **given)


def bert():
    sizes = SIZES | {"num_attention_heads": 2, "num_labels": 5, "vocab_size": 20}
    return from_transformers("BertForSequenceClassification", "BertConfig", **sizes)


def vit():
    sizes = SIZES | {"num_attention_heads": 2, "num_labels": 5, "image_size": 64, "patch_size": 16}
    return from_transformers("ViTForImageClassification", "ViTConfig", **sizes)


def mixture(kind, **settings):
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8}
    given = TEXT | SIZES | heads | {"num_experts_per_tok": 2} | settings
    return from_transformers(f"{kind}ForCausalLM", f"{kind}Config", **given)


QWEN = {"num_experts": 4, "moe_intermediate_size": 12, "shared_expert_intermediate_size": 20}


def mamba():
    sizes = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 3, "time_step_rank": 2}
    return from_transformers("MambaForCausalLM", "MambaConfig", **TEXT, **sizes, pad_token_id=0)


def from_timm(name, **settings):
    library = pytest.importorskip("timm", reason="timm is not installed")
    return library.create_model(name, num_classes=5, **settings)


class Tagger(nn.Module):
    """A recurrent layer, then torch's own encoder."""

    def __init__(self):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(20, 16), nn.LSTM(16, 16, batch_first=True)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(3)
        )
        self.head = nn.Linear(16, 4)

    def forward(self, tokens):
        x, _ = self.rnn(self.embed(tokens))
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


MODELS = {
    "gpt2": (gpt2, (), {}, TOKENS, r"transformer\.h\.\d", 3),
    "gpt2 with padding": (gpt2, (), {"pad_token_id": 5}, TOKENS, r"transformer\.h\.\d", 3),
    "gpt2, own attention": (gpt2, (), {"attn_implementation": "eager"}, TOKENS, r".*\.\d", 3),
    "llama": (llama, (), {}, TOKENS, r"model\.layers\.\d", 3),
    "llama with padding": (llama, (), {"pad_token_id": 5}, TOKENS, r"model\.layers\.\d", 3),
    "mixtral": (mixture, ("Mixtral",), {"num_local_experts": 4}, TOKENS, r"model\.layers\.\d", 3),
    "qwen2 moe": (mixture, ("Qwen2Moe",), QWEN, TOKENS, r"model\.layers\.\d", 3),
    "olmoe": (mixture, ("Olmoe",), {"num_experts": 4}, TOKENS, r"model\.layers\.\d", 3),
    "mamba": (mamba, (), {}, TOKENS, r"backbone\.layers\.\d", 3),
    "bert": (bert, (), {}, TOKENS, r"bert\.encoder\.layer\.\d", 3),
    "vit": (vit, (), {}, IMAGES, r"vit\..*layers?\.\d", 3),
    "torch": (Tagger, (), {}, TOKENS, r"layers\.\d", 3),
    "convnext": (from_timm, ("convnext_atto",), {}, IMAGES, r"stages\.\d\.blocks\.\d", 12),
    "vit of timm": (
        from_timm,
        ("vit_tiny_patch16_224",),
        {"img_size": 64, "depth": 3},
        IMAGES,
        r"blocks\.\d",
        3,
    ),
    "mobilenet": (from_timm, ("mobilenetv3_small_100",), {}, IMAGES, r"blocks\.\d\.\d", 6),
    "efficientnet": (from_timm, ("efficientnet_b0",), {}, IMAGES, r"blocks\.\d\.\d", 9),
}
SMALL = ("gpt2", "llama", "mixtral", "qwen2 moe", "olmoe", "mamba", "bert", "torch")
IN_FLOAT32 = {
    **dict.fromkeys(("mixtral", "qwen2 moe", "olmoe"), r"layers\.0\.mlp\.experts"),
    "mamba": r"model\.lm_head",
}
"""Models that do not compute in float64, and their parts of which that is said."""


def logits_of(model, inputs):
    """As the library's own users read it, the last position's where there are several."""
    found = model(inputs)
    logits = getattr(found, "logits", found)
    return logits[:, -1] if logits.ndim == 3 else logits


@pytest.mark.filterwarnings("ignore:the MACs leave out")
@pytest.mark.parametrize("name", MODELS)
def test_a_foreign_model_names_its_blocks_keeps_its_answers_and_skips_what_is_off(name):
    make, arguments, settings, example, paths, number = MODELS[name]
    model = made(make, *arguments, **settings)
    found = gateable(model, example)
    assert len(found) == number
    assert all(re.fullmatch(paths, path) and "unit" in kinds for path, kinds in found.items())
    network = gate(model, dict.fromkeys(found, "unit"), example)
    everything = [torch.ones(2, 1, dtype=torch.bool)] * number
    with torch.no_grad():
        torch.testing.assert_close(network(example, everything), logits_of(model, example))
    nothing = [torch.zeros(2, 1, dtype=torch.bool)] * number
    macs, logits = counted(network, example, nothing)
    assert macs == 2 * (network.dense_macs - sum(network.own_macs))
    for path in found:
        for weight in model.get_submodule(path).parameters():
            weight.data.fill_(torch.nan)
    torch.testing.assert_close(network(example, nothing), logits)
    if name in SMALL:
        model = made(make, *arguments, **settings)
        network, part = gate(model, dict.fromkeys(found, "unit"), example), IN_FLOAT32.get(name)
        warned = contextlib.nullcontext()
        if part is not None:
            warned = pytest.warns(UserWarning, match=rf"float32, .*: .*{part} does not compute in")
        with warned:
            check_network(network, example)


def test_rows_that_depend_on_their_neighbours_are_found_in_float32_too(monkeypatch):
    network, plain = gate(made(mamba), {"backbone.layers.0": "unit"}, TOKENS), GatedModule.logits

    def logits(self, hidden, backend="auto"):
        found = plain(self, hidden, backend)
        return found * (1 + 0.002 * (len(found) > 1))

    monkeypatch.setattr(GatedModule, "logits", logits)
    message = "in a batch what each row gives alone"
    with pytest.warns(UserWarning, match="in float32"), pytest.raises(ValueError, match=message):
        check_network(network, TOKENS)


ATTENTION = 6 * 16 * (16 + 8 + 8 + 16) + 4 * 2 * 6 * 6 * 4
"""MACs of 6 tokens of 16 numbers: four heads of queries, two of keys and values; all positions."""


@pytest.mark.parametrize(
    ("kind", "sizes", "experts"),
    [
        # A router, and two of the four experts, of three matrices each, for every token.
        ("Mixtral", {"num_local_experts": 4}, 6 * 16 * (4 + 2 * 3 * 24)),
        # Also a shared expert and its gate.
        ("Qwen2Moe", QWEN, 6 * 16 * (4 + 2 * 3 * 12 + 3 * 20 + 1)),
    ],
)
def test_a_mixture_of_experts_costs_the_experts_that_its_router_takes(kind, sizes, experts):
    model = made(mixture, kind, **sizes)
    network = gate(model, {f"model.layers.{n}": "unit" for n in range(3)}, TOKENS)
    assert network.own_macs == (ATTENTION + experts,) * 3
    assert network.dense_macs == 3 * (ATTENTION + experts) + 16 * 20


@pytest.mark.parametrize("make", [gpt2, llama])
def test_halves_of_a_decoders_layer_are_gated_through_tuples_and_names(make):
    model = made(make)
    list_of, attention = (
        ("transformer.h", "attn") if make is gpt2 else ("model.layers", "self_attn")
    )
    units = {f"{list_of}.{i}.{part}": "zero" for i in range(3) for part in (attention, "mlp")}
    every = gateable(model, TOKENS, every=True)
    assert all("zero" in every[path] for path in units)
    check_network(gate(model, units, TOKENS), TOKENS)


def test_an_agent_that_keeps_two_of_n_blocks_tosses_coins_where_all_gates_have_one():
    model = made(Tagger)
    network = gate(model, dict.fromkeys(gateable(model, TOKENS), "unit"), TOKENS)
    data = {name: (TOKENS.repeat(8, 1), torch.arange(16) % 4) for name in ("train", "test")}
    agents = []
    for settings in ({}, {"sampling": "independent"}):
        simulator = seeded(
            4, dataset=data, network=network, observation="layer_input", group_size=2
        )
        agents.append(Rloo(simulator, **settings))
        agents[-1].learn(8)
    assert agents[0].parameters().keys() == agents[1].parameters().keys()
    for name, value in agents[0].parameters().items():
        torch.testing.assert_close(value, agents[1].parameters()[name], rtol=0, atol=0)
