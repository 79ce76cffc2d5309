"""Baseline networks: pruned, plain, counted and hashed."""
