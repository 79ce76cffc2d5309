"""What files and checkpoints hold of a policy: learned tensors, and all that learning changes."""

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn

from ccenv.base.snapshot import CannotStoreError, restore_state, state_of
from ccenv.simulator.policy import Policy
from ccenv.simulator.simulator import Simulator


class StoredPolicy(Policy):
    """A policy that is stored by its attributes: modules, tensors with a gradient, optimisers."""

    def parameters(self) -> dict[str, Tensor]:
        """Learned tensors by name, for checkpoints: of modules, and tensors that have a gradient.

        Those may be attributes, or in a list that is one.
        """
        tensors: dict[str, Tensor] = {}
        for name, value in vars(self).items():
            if isinstance(value, nn.Module):
                tensors |= {f"{name}.{key}": tensor for key, tensor in value.state_dict().items()}
            for key, tensor in enumerate(value if isinstance(value, list | tuple) else [value]):
                if isinstance(tensor, Tensor) and tensor.requires_grad:
                    tensors[name if tensor is value else f"{name}.{key}"] = tensor
        return tensors

    def load_parameters(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies what `parameters` gave into an agent built with the same settings.

        Raises:
            ValueError: if there is another tensor, or one of another shape.
        """
        parameters = self.parameters()
        expected, got = (
            {n: list(t.shape) for n, t in named.items()} for named in (parameters, tensors)
        )
        if expected != got:
            raise ValueError(f"expected tensors {expected} of {type(self).__name__}, got {got}")
        with torch.no_grad():
            for name, tensor in parameters.items():
                tensor.copy_(tensors[name])

    def torch_optimizers(self) -> list[torch.optim.Optimizer]:
        """Optimisers of torch that are attributes: curves show their rate and gradients."""
        return [one for one in vars(self).values() if isinstance(one, torch.optim.Optimizer)]

    def state(self) -> dict[str, Any]:
        """All that learning changes, for `load_state`: attributes, and torch's global stream.

        Raises:
            CannotStoreError: if an attribute's state is not known, or `learn` cannot go on.
        """
        owner = next(c for c in type(self).__mro__ if "learn" in vars(c))
        if not vars(owner).get("resumes", False):
            raise CannotStoreError(
                f"expected {owner.__name__}.learn to go on from images_done, and `resumes = True` "
                "as well to say so"
            )
        # The environment, functions and classes are no state of the agent.
        others = (Simulator, gym.Env, gym.vector.VectorEnv, type)
        attributes = {
            name: state_of(value, name)
            for name, value in vars(self).items()
            if not (isinstance(value, others) or inspect.isroutine(value))
        }
        return {"attributes": attributes, "global_stream": torch.get_rng_state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Puts back what `state` gave into an agent built with the same settings.

        Raises:
            ValueError: if it is the state of another agent.
        """
        for name, tree in state["attributes"].items():
            setattr(self, name, restore_state(getattr(self, name, None), tree, name))
        torch.set_rng_state(state["global_stream"])
