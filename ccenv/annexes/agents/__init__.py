"""Agents of systems that came after the paper, and other estimators of the gradient."""
