"""Network and policy in one compiled call."""
