"""The environment as others want it: Gymnasium, its vectors, Stable-Baselines3, other actions."""
