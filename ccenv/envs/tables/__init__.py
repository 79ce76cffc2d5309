"""Environments on tables of all masks, in numpy."""
