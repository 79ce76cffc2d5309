"""SmolLM2: attention against torch's own, its bill, its file."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from ccenv.annexes.networks.pretrained import smollm as llama
from ccenv.networks.core.protocol import dense_forward, forward, through
from tests.ccenv.networks.tiny import LLAMA


def small(length=5, seed=0):
    torch.manual_seed(seed)
    return llama.smollm2((length,), LLAMA.vocabulary, weights="random", sizes=LLAMA)


def tokens_of(rows, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, LLAMA.vocabulary, (rows, length), generator=generator)


def test_layers_are_two_gates_each_and_the_bill_is_the_formula():
    network = small()
    assert [gate.name for gate in network.gates[:2]] == ["layers.0.attention", "layers.0.mlp"]
    assert [gate.skipped for gate in network.gates] == ["identity"] * 4
    length, (width, hidden) = 5, (LLAMA.width, LLAMA.hidden)
    keys = width // 2
    attention = length * (2 * width * width + 2 * width * keys) + 2 * length * length * width
    mlp = 3 * length * width * hidden
    assert network.dense_macs == 2 * (attention + mlp) + width * LLAMA.vocabulary


def test_attention_is_torchs_own_with_keys_shared_by_neighbouring_heads():
    torch.manual_seed(0)
    body, x = llama.Attention(LLAMA), torch.randn(3, 6, LLAMA.width)
    h = body.norm(x)
    turns = llama.rotary_angles(6, body.head_size, LLAMA.rope_base, x.device)
    q, k, v = (
        part.unflatten(2, (-1, body.head_size)) for part in (body.q(h), body.k(h), body.v(h))
    )
    q, k, v = (t.transpose(1, 2) for t in (llama.rotated(q, turns), llama.rotated(k, turns), v))
    y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(body(x), body.out(y.transpose(1, 2).flatten(2)))


@given(first=st.integers(0, 9), second=st.integers(0, 9), moved=st.integers(0, 90))
def test_rotated_products_depend_on_the_distance_alone(first, second, moved):
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64, generator=generator)
    angles = llama.rotary_angles(100, 8, 1e4, q.device)

    def product(i, j):
        return (llama.rotated(q, angles[i : i + 1]) * llama.rotated(k, angles[j : j + 1])).sum()

    torch.testing.assert_close(product(first, second), product(first + moved, second + moved))


def test_a_text_at_once_is_answered_as_its_windows_one_by_one():
    network, tokens = small(), tokens_of(3, 6)
    masks = [torch.tensor([[True], [gate % 2 == 0], [False]]) for gate in range(4)]
    every = network.logits_everywhere(through(network, tokens, lambda gate, _: masks[gate]))
    for end in range(1, 7):
        torch.testing.assert_close(every[:, end - 1], forward(network, tokens[:, :end], masks))


def test_one_matrix_is_at_both_ends_in_copies_and_files_too(tmp_path):
    network, tokens = small(), tokens_of(2, 5)
    other = copy.deepcopy(network)
    with torch.no_grad():
        network.stem.weight.zero_()
    assert not dense_forward(network, tokens).any()
    whole = dense_forward(other, tokens)
    save_file(other.state_dict(), tmp_path / "weights.safetensors")
    network.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(dense_forward(network, tokens), whole)


def theirs(name):
    """Our name of a weight -> the file's."""
    outer = {"stem.weight": "token_embd.weight", "head.norm.weight": "output_norm.weight"}
    if name in outer:
        return outer[name]
    _, part, _, kind, _ = name.split(".")
    number, is_mlp = int(part) // 2, int(part) % 2
    starts = "ffn" if is_mlp else "attn"
    found = [key for key, ours in llama.TENSORS.items() if ours == kind and key.startswith(starts)]
    return f"blk.{number}.{found[0]}.weight"


def test_every_weight_of_the_file_needs_its_place():
    network, other = small(), small(seed=1)
    state = other.state_dict()
    named = {theirs(name): value for name, value in state.items()}
    llama.load_smollm2(network, named)
    tokens = tokens_of(2, 5)
    assert torch.equal(dense_forward(network, tokens), dense_forward(other, tokens))
    for broken in ({**named, "blk.2.ffn_up.weight": torch.zeros(1)}, dict([*named.items()][1:])):
        with pytest.raises(ValueError, match="expected"):
            llama.load_smollm2(network, broken)


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="heads"):
        llama.LlamaSizes(11, 16, 2, 3, 2, 12)
