"""Listens to a run: (images seen, scalars of an update) -> curves, validations, checkpoints."""

import copy
import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from tqdm import tqdm

from ccenv.agents.base import Agent
from ccenv.base.snapshot import CannotStoreError
from ccenv.runs.config.plan import Plan
from ccenv.runs.engine.errors import CannotStartError, warn
from ccenv.runs.engine.prepare import PreparedRun
from ccenv.runs.tensorboard.tracking import Tracker
from ccenv.simulator.evaluate import Evaluation, evaluate
from ccenv.simulator.resume import restore_simulator, simulator_state
from ccenv.simulator.rollout import collect_rollout, episode_curves

HOUR = 3600
TIMED = 5
"""Updates after which a run of more than an hour says so; the first one compiles kernels."""


class Best:
    """What was learned at the validation with the fewest errors; of several the first one.

    The run learns to its last image: of a patience that is spent nothing is saved but time.
    """

    def __init__(self, agent: Agent) -> None:
        """Prepares."""
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


SHARE = 0.1
"""Of a run's images: its end."""
COST = "episode/compute_cost"
PRICES = ("reward/price", "agent/multiplier")
"""Where a reward, or an agent, with a cost limit says its multiplier."""


@dataclasses.dataclass
class Tail:
    """Averages the last tenth of a run; a resumed one continues from the same fields."""

    num_images: int
    """of the whole run."""
    before: int = 0
    """images of the updates so far."""
    images: int = 0
    """those of them in the last tenth."""
    cost: float = 0.0
    """sum of these images' compute costs."""
    price: float | None = None
    """the last multiplier."""

    def add(self, images_seen: int, scalars: Mapping[str, float]) -> None:
        """Takes one update's scalars; an update counts if its images end in the last tenth."""
        images, self.before = images_seen - self.before, images_seen
        if images_seen > self.num_images * (1 - SHARE) and COST in scalars:
            self.images += images
            self.cost += images * scalars[COST]
        self.price = next((scalars[n] for n in PRICES if n in scalars), self.price)

    def numbers(self) -> dict[str, float | None]:
        """For a result: mean compute cost of the last tenth, and the last multiplier.

        Each is None if there was none, for example in a run without updates.
        """
        mean = self.cost / self.images if self.images else None
        return {"compute_cost": mean, "price": self.price}


class Listener:
    """Called after each update: writes curves, and evaluates on validation images at intervals."""

    def __init__(self, run: PreparedRun, tracker: Tracker, bar: Any) -> None:
        """Writes the verdict on the untrained agent, or goes on with an interrupted run's curves.

        The tracker has those already.
        """
        program = run.plan.program
        self.run, self.tracker, self.bar = run, tracker, bar
        self.every = int(program.eval_every or 1)
        self.validated_at = 0
        self.last: Evaluation | None = None
        self.images_seen, self.seconds_learned = 0, 0.0
        self.seconds, self.seconds_before = 0.0, 0.0
        self.timed: list[tuple[int, float]] = []
        self.curve: list[dict[str, Any]] = []
        self.tail = Tail(program.images)
        self.best = Best(run.agent) if program.keep_best else None
        if run.resumed is None:
            self.take(0, run.first)
        else:
            self.resume(run.resumed)
        self.begun = time.perf_counter()

    def state(self) -> dict[str, Any]:
        """What `resume` needs."""
        return {
            "tracker": self.tracker.state(),
            "judged_at": self.validated_at,
            "curve": self.curve,
            "tail": dataclasses.asdict(self.tail),
            "seconds": self.learning_seconds,
            "best": None if self.best is None else self.best.state(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self.validated_at, self.curve = state["judged_at"], state["curve"]
        self.tail = Tail(**state["tail"])
        self.seconds_before = state["seconds"]
        if self.best is not None:
            self.best.resume(state["best"])

    @property
    def learning_seconds(self) -> float:
        """Time spent learning so far, validations and checkpoints left out."""
        return self.seconds_before + time.perf_counter() - self.begun - self.seconds

    def __call__(self, images_seen: int, scalars: dict[str, float]) -> None:
        """Takes one update's scalars."""
        self.tail.add(images_seen, scalars)
        if len(self.timed) < TIMED:
            self.timed.append((images_seen, self.learning_seconds))
            self.say_hours()
        if self.tracker.is_due(images_seen):
            steps = images_seen * self.tracker.steps_of_image
            scalars = of_optimizers(self.run.agent) | scalars
            scalars["time/fps"] = steps / self.learning_seconds
        self.tracker.rollout(images_seen, scalars)
        if self.bar is not None:
            self.bar.update(images_seen - self.bar.n)
        if images_seen - self.validated_at >= self.every:
            self.validate(images_seen)
        if self.run.keeper.is_due(images_seen):
            self.keep(images_seen)

    def say_hours(self) -> None:
        """Says how long learning takes, if that is more than an hour."""
        (first, begun), (last, now) = self.timed[0], self.timed[-1]
        left = self.run.plan.program.images - last
        if len(self.timed) == TIMED and (now - begun) * left > HOUR * (last - first):
            hours = (now - begun) * left / (last - first) / HOUR
            warn(f"{self.run.plan.agent} learns for about {hours:,.1f} hours")

    def validate(self, images_seen: int) -> None:
        """Validates."""
        started = time.perf_counter()
        self.take(images_seen, self.validation())
        self.seconds += time.perf_counter() - started

    def take(self, images_seen: int, validation: Evaluation) -> None:
        """Takes a verdict on the agent as it is now."""
        self.last, self.validated_at = validation, images_seen
        self.curve.append({"images_seen": images_seen, **validation.numbers()})
        self.tracker.evaluation(images_seen, validation)
        if self.best is not None:
            self.best.see(images_seen, validation)

    def validation(self, split: str = "validation") -> Evaluation:
        """Verdict on the agent as it is now; the same whenever it is asked for."""
        return evaluate(self.run.env, self.run.agent, split=split, seed=self.run.plan.program.seed)

    def keep(self, images_seen: int) -> None:
        """Writes a checkpoint."""
        curves = self.state()
        started = time.perf_counter()
        self.run.keeper.keep(images_seen, curves)
        self.seconds += time.perf_counter() - started

    def finish(self, images_seen: int) -> list[Evaluation]:
        """Verdicts on the test and the validation split at the end, written as the last curves.

        An agent without updates gets one `episode/*` point.
        """
        self.images_seen, self.seconds_learned = images_seen, self.learning_seconds
        if images_seen == 0:
            agent = self.run.agent
            rollout = collect_rollout(agent.simulator, agent, agent.generator)
            self.tracker.rollout(0, episode_curves(rollout.means))
        if images_seen == 0 or images_seen > self.validated_at:
            self.validate(images_seen)
        if self.best is not None:
            self.best.put_back()
            self.last = None
        last = self.last or self.validation()
        test = self.validation("test")
        self.tracker.finish(images_seen, test, self.curve)
        return [test, last]


def of_optimizers(agent: Agent) -> dict[str, float]:
    """Learning rate and norm of the last gradient: of an agent that learns by torch's optimisers.

    The rate is that of the first optimiser's first group, which is the policy's.
    """
    groups = [group for one in agent.torch_optimizers() for group in one.param_groups]
    gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    if not gradients:
        return {}
    norm = float(nn.utils.get_total_norm(gradients))
    return {"agent/learning_rate": groups[0]["lr"], "agent/gradient_norm": norm}


@contextmanager
def progress_bar(plan: Plan) -> Iterator[Any]:
    """A bar on stderr that counts images, on a terminal; None where none is wanted."""
    if not plan.program.progress:
        yield None
        return
    with tqdm(total=plan.program.images, desc=plan.agent, unit="image", disable=None) as bar:
        yield bar
