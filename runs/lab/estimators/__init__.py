"""Estimators of a policy's gradient on the table of all masks: how wrong, how noisy, how fast."""
