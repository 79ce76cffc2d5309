"""Networks by name: what the environment's setting `network` may be, beside `module:name`."""

from typing import Any

from ccenv.networks.core.mlp import GatedMLP

NETWORKS: dict[str, Any] = {
    "cascade": "ccenv.networks.vision.early_exit:cascade",
    "conv": "ccenv.networks.vision.conv:conv",
    "early_exit": "ccenv.networks.vision.early_exit:early_exit",
    "experts": "ccenv.networks.vision.experts:experts",
    "efficientnet_lite0": "ccenv.networks.pretrained.efficientnet:efficientnet_lite0",
    "mlp": GatedMLP,
    "mlp-dropout-0.2": "ccenv.networks.baselines.dense:fifth",
    "mlp-dropout-0.5": "ccenv.networks.baselines.dense:half",
    "probe": "ccenv.networks.probe:probe_network",
    "hashed_ngrams": "ccenv.networks.baselines.text:hashed_ngrams",
    "ngram": "ccenv.networks.text.ngram:Ngram",
    "pruned": "ccenv.networks.baselines.pruned:pruned",
    "pruned_blocks": "ccenv.networks.baselines.pruned:pruned_blocks",
    "pruned_bytes": "ccenv.networks.baselines.text:pruned_bytes",
    "cascade_bytes": "ccenv.networks.baselines.text:cascade_bytes",
    "pondering_bytes": "ccenv.networks.baselines.text:pondering_bytes",
    "bytes": "ccenv.networks.text.embedding:TokenMLP",
    "vit": "ccenv.networks.vision.transformer:vit",
    "pondering": "ccenv.networks.vision.early_exit:pondering",
    "probe-exit": "ccenv.networks.probe:probe_exit",
    "probe-residual": "ccenv.networks.probe:probe_residual",
    "resnet": "ccenv.networks.vision.residual:resnet",
    "small_conv": "ccenv.networks.baselines.dense:small_conv",
    "streaming": "ccenv.networks.stages.streaming:Streaming",
    "smollm2": "ccenv.networks.pretrained.smollm:smollm2",
}
