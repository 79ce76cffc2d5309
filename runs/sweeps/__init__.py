"""Sweeps by name, and what they are made of; their studies say what their reports add."""

from ccenv.runs.plan.on_use import OnUse
from ccenv.runs.plan.sweep import MINIATURE, Cell, Sweep
from ccenv.runs.studies import STUDIES

SWEEPS: OnUse[Sweep] = OnUse(STUDIES, lambda name: STUDIES[name].sweep)
"""Each is read from its file when it is asked for."""

__all__ = ["MINIATURE", "SWEEPS", "Cell", "Sweep"]
