"""Networks by name: what the environment's setting `network` may be, beside `module:name`."""

from typing import Any

from ccenv.networks.mlp import GatedMLP

NETWORKS: dict[str, Any] = {
    "cascade": "ccenv.networks.models.early:cascade",
    "conv": "ccenv.networks.models.conv:conv",
    "early_exit": "ccenv.networks.models.early:early_exit",
    "experts": "ccenv.networks.models.experts:experts",
    "efficientnet_lite0": "ccenv.networks.pretrained.efficientnet:efficientnet_lite0",
    "mlp": GatedMLP,
    "mlp-dropout-0.2": "ccenv.networks.dropout:fifth",
    "mlp-dropout-0.5": "ccenv.networks.dropout:half",
    "probe": "ccenv.networks.probe:probe_network",
    "hashed_ngrams": "ccenv.networks.models.text_rivals:hashed_ngrams",
    "ngram": "ccenv.networks.models.ngram:ngram",
    "pruned": "ccenv.networks.models.pruned:pruned",
    "pruned_blocks": "ccenv.networks.models.pruned_blocks:pruned_blocks",
    "pruned_bytes": "ccenv.networks.models.text_rivals:pruned_bytes",
    "cascade_bytes": "ccenv.networks.models.text_rivals:cascade_bytes",
    "bytes": "ccenv.networks.models.embedding:next_byte",
    "vit": "ccenv.networks.models.transformer:vit",
    "pondering": "ccenv.networks.models.pondering:pondering",
    "probe-exit": "ccenv.networks.models.probe_units:probe_exit",
    "probe-residual": "ccenv.networks.models.probe_units:probe_residual",
    "resnet": "ccenv.networks.models.residual:resnet",
    "small_conv": "ccenv.networks.models.small_conv:small_conv",
    "streaming": "ccenv.networks.models.streaming:streaming",
    "smollm2": "ccenv.networks.pretrained.smollm:smollm2",
}
