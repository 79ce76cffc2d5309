"""Speed on the user's own machine: block-sparse layers and networks compared with dense ones."""

from ccenv.base.registry import Table

EXPERIMENTS = Table(
    machine="ccenv.runs.speed.networks:MACHINE",
    kernels="ccenv.runs.speed.networks:KERNELS",
    gpu="ccenv.runs.speed.gpu:GPU",
)
"""What a user measures on a machine of his own, imported on use; the first is the default."""
ABOUT = {
    "machine": "this machine's own figures in half a minute, next to those of others",
    "kernels": "block-sparse layers and networks compared with dense ones",
    "gpu": "block-sparse layers compared with dense ones on a CUDA device",
}
"""What each measures."""
