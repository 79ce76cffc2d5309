"""Stages of networks: what a block is, and what a skipped one means."""
