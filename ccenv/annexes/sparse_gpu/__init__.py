"""The GPU's routes: plans, lists and launches of the Triton kernels."""
