"""Networks that are asked for by name, and what gates a model of the user."""
