"""Experiments: programs, what carries runs out, studies, reports; installed as `ccenv.runs`."""
