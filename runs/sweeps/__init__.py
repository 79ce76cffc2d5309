"""Sweeps by name, and what they are made of; their studies say what their reports add."""

from ccenv.runs.config.sweep import MINIATURE, Cell, OnUse, Sweep
from ccenv.runs.studies import STUDIES

SWEEPS = OnUse(STUDIES, lambda name: STUDIES[name].sweep)
"""Each is read from its file when it is asked for."""

__all__ = ["MINIATURE", "SWEEPS", "Cell", "Sweep"]
