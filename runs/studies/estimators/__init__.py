"""Estimators of a policy's gradient on the table of all masks: how wrong, how noisy, how fast.

`record` is the program; its results are tables and figures of `runs/docs/estimators.md`.
"""
