"""Curves of a run for TensorBoard: the same tags for every agent, against images seen.

| tag | what |
|---|---|
| `episode/*` | training batches as the agent saw them, averaged between two points |
| `eval/*` | the validation split, masks sampled |
| `train/*` | the agent's own scalars (its `agent/*`), and the network's loss in co-training |
| `test/*` | the test split, masks sampled, once at the end |
| `keep_probability/layer_<l>` | histogram over validation images and blocks |
| `block_use/layer_<l>` | image: mean keep probability, classes down, blocks across, 1 is white |
| `settings/*`, HPARAMS | the settings, as text and as a row whose metrics are the scalars above |
| Custom Scalars, projector | see `ccenv.runs.tensorboard.charts` |

A run's curves to Weights & Biases, while its event file gets them: ccenv train --track wandb.

Nothing is logged twice: W&B reads what TensorBoard would. No other part of the package knows of it.
"""

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch.utils.tensorboard.writer import SummaryWriter

from ccenv.runs.config.plan import Plan
from ccenv.runs.tensorboard import charts
from ccenv.runs.tensorboard.charts import OF_A_RUN
from ccenv.runs.tensorboard.hparams import compact, summaries
from ccenv.simulator.evaluate import Evaluation

NUM_POINTS = 400
CELL = 8
"""Pixels of one block of one class."""
BINS = np.linspace(0, 1, 51)
"""TensorFlow's own bins are a tenth wide near 1."""


def scores(evaluation: Evaluation) -> dict[str, float]:
    """What is judged of an evaluation, by the last part of its tag."""
    blocks = [mask.shape[1] for mask in evaluation.masks]
    return {
        "error": evaluation.error,
        "nll": evaluation.nll,
        "compute_cost": evaluation.compute_cost,
        "total_cost": evaluation.total_cost,
        "density": float(np.average(evaluation.density, weights=blocks)),
    }


class Tracker:
    """Writes one run's event file."""

    def __init__(
        self, folder: Path, config: dict[str, Any], state: dict[str, Any] | None = None
    ) -> None:
        """Opens an event file; writes the settings as text, or goes on with an interrupted run.

        Args:
            folder: the run's.
            config: its settings, see `ccenv.runs.config.plan.Plan.config`.
            state: what `state` gave at the checkpoint; later points are cut off, so that no point
                is there twice.
        """
        self.config, self.folder = config, folder
        self._every = config["images"] / NUM_POINTS
        self._next = 0.0
        self._pending: dict[str, list[float]] = defaultdict(list)
        if state is not None:
            cut_event_files(folder, state["sizes"])
            wait_for_a_later_name(folder)
            self._next = state["next"]
            self._pending.update(state["pending"])
        self.writer = SummaryWriter(str(folder))
        if state is None:
            charts.clear(folder)
            self._write_settings(config)

    def _write_settings(self, config: dict[str, Any]) -> None:
        for group in ("environment", "agent_settings"):
            self.writer.add_text(f"settings/{group}", markdown(config[group]), 0)
        program = {k: v for k, v in config.items() if not isinstance(v, dict)}
        self.writer.add_text("settings/run", markdown(program), 0)
        self.writer.add_custom_scalars(OF_A_RUN)

    def state(self) -> dict[str, Any]:
        """What is written so far, and what waits to be written."""
        self.writer.flush()
        sizes = {path.name: path.stat().st_size for path in event_files(self.folder)}
        return {"sizes": sizes, "next": self._next, "pending": dict(self._pending)}

    def rollout(self, images_seen: int, scalars: dict[str, float]) -> None:
        """Takes what an update gave; writes means, often enough for a smooth curve."""
        for tag, value in scalars.items():
            self._pending[tag].append(value)
        if images_seen >= self._next:
            self._flush(images_seen)
            self._next = images_seen + self._every

    def _flush(self, images_seen: int) -> None:
        for tag, values in self._pending.items():
            self.writer.add_scalar(shown_as(tag), float(np.mean(values)), images_seen)
        self._pending.clear()

    def evaluation(self, images_seen: int, evaluation: Evaluation) -> None:
        """Writes an evaluation on validation images: scores, keep probabilities, block use."""
        self._write_scores("eval", images_seen, evaluation)
        for layer, density in enumerate(evaluation.density):
            self.writer.add_scalar(f"eval/density_{layer}", density, images_seen)
            values = evaluation.keep_probability[layer].float().cpu().numpy()
            tag = f"keep_probability/layer_{layer}"
            self.writer.add_histogram(tag, values, images_seen, bins=BINS)
            use = evaluation.block_use[layer].float().cpu().numpy()
            image = np.kron(use, np.ones((CELL, CELL)))
            self.writer.add_image(f"block_use/layer_{layer}", image, images_seen, dataformats="HW")

    def _write_scores(self, split: str, images_seen: int, evaluation: Evaluation) -> None:
        for name, value in scores(evaluation).items():
            self.writer.add_scalar(f"{split}/{name}", value, images_seen)

    def finish(self, images_seen: int, test: Evaluation) -> None:
        """Writes the verdict on test images and the row of HPARAMS."""
        self._flush(images_seen)
        self._write_scores("test", images_seen, test)
        # SummaryWriter.add_hparams would open a second run in a folder of its own.
        for summary in summaries(self.config):
            self.writer._get_file_writer().add_summary(summary)

    def __enter__(self) -> "Tracker":
        """Nothing to prepare."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the event file."""
        self.writer.close()


def shown_as(tag: str) -> str:
    """A scalar's tag on the board, which sorts by name: error and cost come before details.

    >>> shown_as("agent/loss"), shown_as("episode/error")
    ('train/loss', 'episode/error')
    """
    return f"train/{tag.removeprefix('agent/')}" if tag.startswith("agent/") else tag


def event_files(folder: Path) -> list[Path]:
    """A run's event files: one, and one more for each time that it was resumed."""
    return sorted(folder.glob("events.out.tfevents.*"))


def too_short(folder: Path, sizes: dict[str, int]) -> list[str]:
    """Names of event files that hold less than a checkpoint knows, or are gone."""
    here = {path.name: path.stat().st_size for path in event_files(folder)}
    return [name for name, size in sizes.items() if here.get(name, 0) < size]


def cut_event_files(folder: Path, sizes: dict[str, int]) -> None:
    """Cuts off what came after a checkpoint: files are shortened to their size then, or removed."""
    for path in event_files(folder):
        if path.name in sizes:
            with path.open("r+b") as file:
                file.truncate(sizes[path.name])
        else:
            path.unlink()


def wait_for_a_later_name(folder: Path) -> None:
    """Waits, for a second at most, until a new event file's name comes after those that are there.

    TensorBoard reads a run's files by name, which starts with the second of their making.
    """
    stamps = [int(path.name.split(".")[3]) for path in event_files(folder)]
    deadline = time.time() + 1.1
    while int(time.time()) <= max(stamps, default=0) and time.time() < deadline:
        time.sleep(0.02)


def markdown(settings: dict[str, Any]) -> str:
    """A table of two columns."""
    rows = (f"| {name} | {compact(value)} |" for name, value in settings.items())
    return "\n".join(["| setting | value |", "|---|---|", *rows])


PROJECT = "ccenv"
"""Where runs are listed unless W&B's own variable WANDB_PROJECT says otherwise."""
SERVICES = ("wandb",)


class NoServiceError(ValueError):
    """A service whose library is not installed; nothing was written."""


@contextlib.contextmanager
def mirrored(service: str | None, plan: Plan) -> Iterator[None]:
    """Sends what is written in this block to a service as well.

    Args:
        service: "wandb", or None for none.
        plan: of the run; its settings are the columns of the service's table.

    Raises:
        NoServiceError: if its library is not installed.
    """
    if service is None:
        yield
        return
    try:
        import wandb
    except ImportError as error:
        raise NoServiceError(
            'expected wandb for --track, got none; pip install wandb, or "ccenv[track]"'
        ) from error
    name = str(plan.folder().relative_to(Path(plan.program.log_dir)))
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    # The event file is opened inside, after W&B began to listen for it.
    with wandb.init(project=project, name=name, config=plan.config(), sync_tensorboard=True):
        yield
    # Else W&B minds that the next seed's event file is in another folder.
    wandb.tensorboard.unpatch()
