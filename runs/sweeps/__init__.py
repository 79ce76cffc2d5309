"""Sweeps by name, and what they are made of; their studies say what their reports add."""

from ccenv.runs.plan.sweep import MINIATURE, Cell, Sweep, dense, dropout_rates, plain
from ccenv.runs.studies import STUDIES

SWEEPS: dict[str, Sweep] = {name: study.sweep for name, study in STUDIES.items()}

__all__ = ["MINIATURE", "SWEEPS", "Cell", "Sweep", "dense", "dropout_rates", "plain"]
