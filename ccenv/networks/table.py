"""Networks by name: what the environment's setting `network` may be, beside `module:name`."""

from typing import Any

from ccenv.networks.mlp import GatedMLP

NETWORKS: dict[str, Any] = {
    "efficientnet_lite0": "ccenv.networks.pretrained.efficientnet:efficientnet_lite0",
    "mlp": GatedMLP,
    "mlp-dropout-0.2": "ccenv.networks.dropout:fifth",
    "mlp-dropout-0.5": "ccenv.networks.dropout:half",
    "probe": "ccenv.networks.probe:probe_network",
    "resnet": "ccenv.networks.residual:resnet",
    "smollm2": "ccenv.networks.pretrained.smollm:smollm2",
}
