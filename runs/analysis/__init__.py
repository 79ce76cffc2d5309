"""Analyses of networks: which gates matter."""
