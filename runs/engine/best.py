"""Early stopping: (validations of a run) -> its agent and network as they were at the best one."""

import copy
from typing import Any

from ccenv.agents.base import Agent
from ccenv.base.snapshot import CannotStoreError
from ccenv.runs.engine.stops import CannotStartError
from ccenv.simulator.evaluate import Evaluation
from ccenv.simulator.resume import restore_simulator, simulator_state


class Best:
    """What the validation with the fewest errors judged; of several the first one.

    The run learns to its last image: of a patience that is spent nothing is saved but time.
    """

    def __init__(self, agent: Agent) -> None:
        """Prepares.

        Raises:
            CannotStartError: if the agent's state cannot be kept.
        """
        self.agent, self.at = agent, 0
        self.error = float("inf")
        self.tree: dict[str, Any] | None = None
        try:
            agent.state()
        except (CannotStoreError, TypeError) as error:
            raise CannotStartError(
                f"expected keep_best=false with an agent whose state cannot be kept: {error}"
            ) from error

    def see(self, images_seen: int, validation: Evaluation) -> None:
        """Takes a verdict on the agent as it is now."""
        if validation.error < self.error:
            self.at, self.error = images_seen, validation.error
            simulator = simulator_state(self.agent.simulator)
            self.tree = copy.deepcopy({"agent": self.agent.state(), "simulator": simulator})

    def put_back(self) -> None:
        """Makes the agent and its network what they were."""
        assert self.tree is not None
        self.agent.load_state(self.tree["agent"])
        restore_simulator(self.agent.simulator, self.tree["simulator"])

    def state(self) -> dict[str, Any]:
        """For `resume`."""
        return {"at": self.at, "error": self.error, "tree": self.tree}

    def resume(self, state: dict[str, Any]) -> None:
        """Goes on with the verdicts of an interrupted run."""
        self.at, self.error, self.tree = state["at"], state["error"], state["tree"]
