"""What carries the gain of rloo: one thing changed at a time."""
