"""Networks by name: what the environment's setting `network` may be, beside `module:name`."""

from typing import Any

from ccenv.networks.mlp import GatedMLP

NETWORKS: dict[str, Any] = {
    "conv": "ccenv.networks.conv:conv",
    "experts": "ccenv.networks.experts:experts",
    "efficientnet_lite0": "ccenv.networks.pretrained.efficientnet:efficientnet_lite0",
    "mlp": GatedMLP,
    "mlp-dropout-0.2": "ccenv.networks.dropout:fifth",
    "mlp-dropout-0.5": "ccenv.networks.dropout:half",
    "probe": "ccenv.networks.probe:probe_network",
    "bytes": "ccenv.networks.embedding:next_byte",
    "vit": "ccenv.networks.transformer:vit",
    "probe-exit": "ccenv.networks.probe_units:probe_exit",
    "probe-residual": "ccenv.networks.probe_units:probe_residual",
    "resnet": "ccenv.networks.residual:resnet",
    "smollm2": "ccenv.networks.pretrained.smollm:smollm2",
}
