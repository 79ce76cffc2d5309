"""A user's own module as a gated network: cut at its children by a trace that runs along."""
