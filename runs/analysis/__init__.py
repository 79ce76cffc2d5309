"""Analyses of networks and runs: gates, leaks, recall."""
