"""The next byte of text: sweeps, and the table of agents that were tuned alike."""
