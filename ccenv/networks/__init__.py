"""Networks that the environment walks through: gates, what they cost, how they are trained."""

from typing import TYPE_CHECKING

from ccenv.base.registry import NameTable, names_on_use

if TYPE_CHECKING:
    from ccenv.networks.core.check import check_network
    from ccenv.networks.core.exit_state import Exit
    from ccenv.networks.core.mlp import GatedMLP
    from ccenv.networks.core.protocol import Gate, GatedNetwork
    from ccenv.networks.core.sequential import GatedSequential
    from ccenv.networks.core.stage import Stage

NETWORKS = NameTable(
    {
        "cascade": "ccenv.networks.vision.early_exit:cascade",
        "conv": "ccenv.networks.vision.conv:conv",
        "early_exit": "ccenv.networks.vision.early_exit:early_exit",
        "experts": "ccenv.networks.vision.experts:experts",
        "efficientnet_lite0": "ccenv.annexes.networks.pretrained.efficientnet:efficientnet_lite0",
        "mlp": "ccenv.networks.core.mlp:GatedMLP",
        "mlp-dropout-0.2": "ccenv.annexes.networks.baselines.dense:fifth",
        "mlp-dropout-0.5": "ccenv.annexes.networks.baselines.dense:half",
        "probe": "ccenv.annexes.tasks.probe:probe_network",
        "hashed_ngrams": "ccenv.annexes.networks.baselines.text:hashed_ngrams",
        "ngram": "ccenv.annexes.networks.text.ngram:Ngram",
        "pruned": "ccenv.annexes.networks.baselines.pruned:pruned",
        "pruned_blocks": "ccenv.annexes.networks.baselines.pruned:pruned_blocks",
        "pruned_bytes": "ccenv.annexes.networks.baselines.text:pruned_bytes",
        "cascade_bytes": "ccenv.annexes.networks.baselines.text:cascade_bytes",
        "bytes": "ccenv.annexes.networks.text.embedding:TokenMLP",
        "gru": "ccenv.annexes.networks.baselines.text:GRU",
        "skip_gru": "ccenv.annexes.networks.baselines.skip_gru:SkipGRU",
        "lm": "ccenv.annexes.networks.text.transformer:LanguageModel",
        "patches": "ccenv.annexes.networks.text.patches:PatchModel",
        "vit": "ccenv.networks.vision.transformer:vit",
        "pondering": "ccenv.networks.vision.early_exit:pondering",
        "documents": "ccenv.annexes.tasks.loading:Documents",
        "staleness": "ccenv.annexes.tasks.refreshing:Staleness",
        "probe-exit": "ccenv.annexes.tasks.probe:probe_exit",
        "probe-residual": "ccenv.annexes.tasks.probe:probe_residual",
        "resnet": "ccenv.networks.vision.residual:resnet",
        "small_conv": "ccenv.annexes.networks.baselines.dense:small_conv",
        "streaming": "ccenv.annexes.networks.text.streaming:Streaming",
        "smollm2": "ccenv.annexes.networks.pretrained.smollm:smollm2",
    }
)
"""Networks by name, imported on use: what the setting `network` may be, or `module:name`."""

__all__ = [
    "NETWORKS",
    "Exit",
    "Gate",
    "GatedMLP",
    "GatedNetwork",
    "GatedSequential",
    "Stage",
    "check_network",
]

__getattr__ = names_on_use(
    __name__,
    {
        "core.check": ["check_network"],
        "core.exit_state": ["Exit"],
        "core.mlp": ["GatedMLP"],
        "core.protocol": ["Gate", "GatedNetwork"],
        "core.sequential": ["GatedSequential"],
        "core.stage": ["Stage"],
    },
)
