"""One episode as pure functions: transitions, observations, codes of actions."""
