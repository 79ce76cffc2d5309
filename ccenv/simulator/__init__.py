"""The environment in tensors: episodes, contexts, rollouts, evaluation, resuming."""
