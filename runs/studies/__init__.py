"""Studies: what was asked, with its sweeps and what its reports add."""
