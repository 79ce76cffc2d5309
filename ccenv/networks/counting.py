"""What a call costs: (function, inputs) -> multiply-accumulates by torch's own counter."""

from collections.abc import Callable
from typing import Any

import torch


def counted(function: Callable[..., Any], *inputs: Any) -> tuple[int, Any]:
    """Multiply-accumulates of a call without gradients, and what it gave.

    Products, convolutions and attention count; biases, norms and activations do not.
    """
    # Imported on use: torch's counter brings Triton where that is installed.
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    # Torch's counter knows the attention of GPUs alone: that of the CPU would be free.
    also = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    counting = FlopCounterMode(display=False, custom_mapping=also)
    # Torch's fused transformer layer would hide its products from the counter.
    is_fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), counting as counter:
            found = function(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fused)
    return counter.get_total_flops() // 2, found
