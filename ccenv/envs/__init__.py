"""Environments for Gymnasium, Stable-Baselines3 and TorchRL, and views of their actions."""
