"""SmolLM2-135M: windows of token ids -> logits of the next token, 60 residual gates.

Allal et al. 2025, "SmolLM2" (arXiv 2502.02737).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ccenv.networks.pretrained.llama import LanguageModel, LlamaSizes, llama
from ccenv.networks.pretrained.packages import has_package_weights
from ccenv.networks.pretrained.smollm_file import file_tensors, load_smollm2

SMOLLM2_135M = LlamaSizes(49_152, 576, 30, 9, 3, 1536)


def smollm2(
    input_shape: tuple[int, ...] = (64,),
    num_classes: int = SMOLLM2_135M.vocabulary,
    weights: str = "package",
    sizes: LlamaSizes = SMOLLM2_135M,
) -> LanguageModel:
    """SmolLM2-135M-Instruct as a classifier of the next token: a gate for each of its 60 layers.

    An input is a window of token ids, int64 [length]; windows of other lengths run too, but the
    bill is that of `input_shape`. The weights are those of a file of four bits, as float32.

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
        return llama(input_shape[0], sizes).eval()
    tensors = file_tensors()
    # Weights that the file brings need neither memory nor random numbers before.
    with torch.device("meta"):
        network = llama(input_shape[0], sizes)
    load_smollm2(network, tensors)
    network.has_own_weights = True
    return network.eval()


@torch.no_grad()
def text_nll(
    network: LanguageModel, tokens: Tensor, masks: Sequence[Tensor] | None = None
) -> Tensor:
    """Nats of each token of a text given those before it, all at once: -> float [rows, length - 1].

    Args:
        network: of `smollm2`.
        tokens: int64 [rows, length].
        masks: bool [rows, 1] for each gate; None keeps everything.
    """
    hidden = network.start(tokens[:, :-1])
    for gate in range(len(network.gates)):
        hidden = network.step(gate, hidden, None if masks is None else masks[gate])
    logits = network.logits_everywhere(hidden)
    return nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
