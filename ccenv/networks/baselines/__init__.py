"""Networks that stand beside chosen ones: pruned, plain, counted and hashed."""
