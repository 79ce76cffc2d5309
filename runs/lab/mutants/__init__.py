"""Faults drawn by a seed: which of them the tests that execute their lines find."""
