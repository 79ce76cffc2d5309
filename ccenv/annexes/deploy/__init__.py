"""What is taken away: exported classifiers, their latency, one compiled call."""
