"""Measured speed: kernels, environments, training, recorded networks."""
