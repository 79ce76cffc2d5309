"""Carries runs out: one, many at once, from a checkpoint, again."""
