"""Environments by id: the settings that make them, registered with Gymnasium."""

from typing import Any

from gymnasium.envs.registration import register

PRESETS: dict[str, dict[str, Any]] = {
    "BlockSelection-v0": {},
    "BlockSelectionMNIST-v0": {"dataset": "mnist", "num_blocks": [16], "block_size": 16},
    "BlockSelectionCIFAR10-v0": {"dataset": "cifar10", "num_blocks": [10, 10], "block_size": 64},
    "BlockSelectionSVHN-v0": {"dataset": "svhn", "num_blocks": [25, 22], "block_size": 32},
}
"""The digits, and the paper's architectures (Bengio et al. 2015, section 5)."""

SYSTEMS: dict[str, dict[str, Any]] = {
    "BlockSelectionStreaming-v0": {"network": "streaming", "reward": "nll_minus_cost"},
    "BlockSelectionSequence-v0": {
        "dataset": "python_bundled@16",
        "network": "skip_gru",
        "network_kwargs": {"width": 48, "embedding_size": 16},
        "episode": "sequence",
        "reward": "nll_minus_cost",
    },
    "BlockSelectionConcurrent-v0": {"weights": "cotrain", "concurrent": "inactive"},
}
"""Of systems that came after; their settings may be given to the others too."""

ENVIRONMENTS = {**PRESETS, **SYSTEMS}
"""All of them."""


def register_all() -> None:
    """Registers every id; their classes are imported when one is made."""
    for name, settings in ENVIRONMENTS.items():
        register(
            name,
            entry_point="ccenv.envs.scalar:BlockSelectionEnv",
            vector_entry_point="ccenv.envs.vector:BlockSelectionVectorEnv",
            kwargs=settings,
        )
