"""Learning together: (an agent on every rank, in one state) -> updates from the rows of all ranks.

Each rank walks its own rows through the network, runs the policy's modules for them, and goes down
the mean of all ranks' gradients. What looks at a whole batch (baselines, bonuses, regularizers,
multipliers) is done by every rank from the rows of all: it is what one process would do.
"""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ccenv.agents.base import Agent, OnRollout
from ccenv.base.ranks import Ranks, RanksError, gradients_averaged, rows_shared
from ccenv.runs.config.plan import Plan
from ccenv.runs.engine.checkpoint import Keeper
from ccenv.runs.engine.errors import LeaderStoppedError, StoppedError, told_as
from ccenv.runs.engine.run import Options, build_env_and_agent, run, torch_settings
from ccenv.simulator.resume import restore_simulator, simulator_state
from ccenv.simulator.step import batch_shared, check_shareable

BY_RANKS = (
    "dense",
    "block_dropout",
    "reinforce",
    "reinforce_lagrangian",
    "actor_critic",
    "condnet",
    "rloo",
    "rloo_budget",
)
"""Agents whose updates look at rollouts alone; those of others say so by `by_ranks`."""


@dataclass(frozen=True)
class Lesson:
    """What rank 0 tells the others to do for one run."""

    agent: dict[str, Any]
    """state of the agent, as in a checkpoint."""
    simulator: dict[str, Any]
    """state of its simulator."""
    images_done: int
    """images that were seen before."""
    check_every: int
    """images between two comparisons of parameters: with each checkpoint."""


class Lead:
    """Rank 0 of one run: tells the others what to do, once."""

    def __init__(self, ranks: Ranks) -> None:
        """Takes the ranks; nothing is sent yet."""
        self.ranks, self.has_told = ranks, False

    def check_plan(self, plan: Plan) -> None:
        """Refuses an agent or a device that ranks cannot share, before anything is built."""
        size, device = self.ranks.size, plan.environment["device"]
        if plan.agent not in BY_RANKS and not vars(plan.agent_class).get("by_ranks", False):
            raise ValueError(
                f"expected an agent that {size} ranks can train together, one of "
                f"{', '.join(BY_RANKS)} or one of yours with by_ranks = True, got {plan.agent!r}; "
                "train it in one process"
            )
        if device not in ("cpu", "cuda"):
            raise ValueError(
                f"expected device=cpu, or cuda, which is another GPU on each of {size} ranks, got "
                f"{device!r}"
            )
        here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if device == "cuda" and here > gpus:
            raise ValueError(
                f"expected a GPU for each rank, got {gpus} for the {here} ranks of this machine; "
                f"give torchrun --nproc-per-node {max(1, gpus)}"
            )

    def check_agent(self, agent: Agent) -> None:
        """Refuses an environment whose batches ranks cannot share."""
        check_shareable(agent.simulator, self.ranks)

    def learner(self, agent: Agent, keeper: Keeper) -> Callable[[int, OnRollout], int]:
        """`agent.learn` by all ranks: the others begin from the state that the agent has now."""

        def learn(num_images: int, on_rollout: OnRollout) -> int:
            done = agent.images_done
            state = simulator_state(agent.simulator)
            self.tell(Lesson(agent.state(), state, done, keeper.every))
            watch = Watch(agent, self.ranks, done, keeper.every, on_rollout)
            return watch.learn(num_images)

        return learn

    def tell(self, order: Lesson | str | None) -> None:
        """Tells an order; a text says why there is nothing to do and never will be."""
        self.has_told = True
        self.ranks.tell(order)

    @contextlib.contextmanager
    def at_the_end(self) -> Iterator[None]:
        """Tells the others, if they wait still, that there is nothing to do, or that it failed."""
        try:
            yield
        except BaseException as error:
            if not self.has_told and not isinstance(error, RanksError):
                self.tell(f"rank 0 has ended: {type(error).__name__}")
            raise
        if not self.has_told:
            self.tell(None)


class Watch:
    """Called after each update, on every rank: compares parameters, then does what rank 0 does."""

    def __init__(
        self, agent: Agent, ranks: Ranks, done: int, every: int, inner: OnRollout | None = None
    ) -> None:
        """Takes images seen so far, those between two comparisons, and what rank 0 does alone."""
        self.agent, self.ranks, self.every, self.inner = agent, ranks, every, inner
        self.sound_at = done

    def learn(self, num_images: int) -> int:
        """The agent's `learn`, whose batches all ranks share."""
        try:
            self.check(self.sound_at)
            with shared(self.agent, self.ranks):
                images_seen = self.agent.learn(num_images, self)
                self.check(images_seen)
            return images_seen
        except RanksError as error:
            raise RanksError(f"{error}; {self.last_good()}") from error

    def __call__(self, images_seen: int, scalars: dict[str, float]) -> None:
        """Compares parameters where a checkpoint is due; a rank that differs is never kept."""
        is_due = 0 < self.every <= images_seen - self.sound_at
        if is_due:
            self.check(images_seen)
        if self.inner is not None:
            with self.ranks.apart():
                self.inner(images_seen, scalars)
        if is_due:
            self.sound_at = images_seen

    def check(self, images_seen: int) -> None:
        """Refuses to go on if parameters or random streams differ between ranks."""
        what = f"what was learned from {images_seen:,} images"
        self.ranks.check_same(digest_of_learned(self.agent), what)

    def last_good(self) -> str:
        """What there is to go on from."""
        if not self.sound_at:
            return "there is no checkpoint yet, the same command starts over"
        return (
            f"the last good state is that after {self.sound_at:,} images, from whose checkpoint "
            "the same command goes on, with any number of ranks"
        )


@contextlib.contextmanager
def shared(agent: Agent, ranks: Ranks) -> Iterator[None]:
    """Shares batch, policy and gradients of an agent between ranks, for a while."""
    modules = [value for value in vars(agent).values() if isinstance(value, nn.Module)]
    with (
        batch_shared(agent.simulator, ranks),
        rows_shared(modules, ranks),
        gradients_averaged(agent.torch_optimizers(), ranks),
    ):
        yield


def digest_of_learned(agent: Agent) -> bytes:
    """Hash of what an agent and its network have learned, and of the agent's random stream."""
    found = hashlib.sha256(agent.generator.get_state().numpy().tobytes())
    learned: dict[str, Tensor] = agent.parameters() | {
        f"network.{name}": tensor for name, tensor in agent.simulator.network.state_dict().items()
    }
    for name in sorted(learned):
        plain = learned[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        found.update(name.encode() + plain.numpy().tobytes())
    return found.digest()


def run_by(ranks: Ranks, plan: Plan, options: Options) -> dict[str, Any] | None:
    """Carries a plan out by all ranks, each of which is given the same plans.

    Returns:
        The result on rank 0, None on the others.
    """
    try:
        if not ranks.leads:
            follow_leader(ranks, plan)
            return None
        lead = Lead(ranks)
        with lead.at_the_end():
            options = dataclasses.replace(options, lead=lead)
            return run(plan, wait=False, reuse=options.resume, options=options)
    except RanksError as error:
        raise StoppedError(str(error)) from error


def follow_leader(ranks: Ranks, plan: Plan) -> None:
    """Does what rank 0 tells: learns along with it, and neither evaluates nor writes anything."""
    with torch_settings(plan.program):
        order: Lesson | str | None = ranks.tell()
        if isinstance(order, str):
            raise LeaderStoppedError(order)
        if order is None:
            return
        env, agent = build_env_and_agent(plan)
        with told_as(StoppedError, plan, (RanksError,), agent):
            agent.load_state(order.agent)
            restore_simulator(agent.simulator, order.simulator)
            agent.images_done = order.images_done
            Watch(agent, ranks, order.images_done, order.check_every).learn(plan.program.images)
        env.close()
