"""Curves of a run for TensorBoard: the same tags for every agent, against images seen.

| tag | what |
|---|---|
| `episode/*` | training batches as the agent saw them, averaged between two points |
| `eval/*` | the validation split, masks sampled |
| `agent/*` | the agent's own scalars, and the network's loss in co-training |
| `test/*` | the test split, masks sampled, once at the end |
| `keep_probability/layer_<l>` | histogram over validation images and blocks |
| `block_use/layer_<l>` | image: mean keep probability by class and block (the paper's Fig. 1) |
| `settings/*`, HPARAMS | the settings, as text and as a row whose metrics are the scalars above |
"""

import json
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from ccenv.rollout import Evaluation

NUM_POINTS = 400
SCORES = ("error", "nll", "compute_cost", "total_cost")
METRICS = (*(f"eval/{name}" for name in SCORES), *(f"test/{name}" for name in SCORES))


class Tracker:
    """Writes one run's event file."""

    def __init__(
        self, folder: Path, config: dict[str, Any], state: dict[str, Any] | None = None
    ) -> None:
        """Opens an event file; writes the settings as text, or goes on with an interrupted run.

        Args:
            folder: the run's.
            config: its settings, see `runs.settings.Plan.config`.
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
            self._write_settings(config)

    def _write_settings(self, config: dict[str, Any]) -> None:
        for group in ("environment", "agent_settings"):
            self.writer.add_text(f"settings/{group}", markdown(config[group]), 0)
        program = {k: v for k, v in config.items() if not isinstance(v, dict)}
        self.writer.add_text("settings/run", markdown(program), 0)

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
            self.writer.add_scalar(tag, float(np.mean(values)), images_seen)
        self._pending.clear()

    def evaluation(self, images_seen: int, evaluation: Evaluation) -> None:
        """Writes the scores and keep probabilities of an evaluation on validation images."""
        for name in SCORES:
            self.writer.add_scalar(f"eval/{name}", getattr(evaluation, name), images_seen)
        for layer, density in enumerate(evaluation.density):
            self.writer.add_scalar(f"eval/density_{layer}", density, images_seen)
            values = evaluation.keep_probability[layer].float().cpu().numpy()
            self.writer.add_histogram(f"keep_probability/layer_{layer}", values, images_seen)

    def finish(self, images_seen: int, validation: Evaluation, test: Evaluation) -> None:
        """Writes the pictures, the verdict on test images and the row of HPARAMS."""
        self._flush(images_seen)
        for layer, use in enumerate(validation.block_use):
            picture = picture_of_use(use.float().cpu().numpy(), layer)
            self.writer.add_image(
                f"block_use/layer_{layer}", picture, images_seen, dataformats="HWC"
            )
        for name in SCORES:
            self.writer.add_scalar(f"test/{name}", getattr(test, name), images_seen)
        # SummaryWriter.add_hparams would open a second run in a folder of its own.
        for summary in hparams(hyperparameters(self.config), dict.fromkeys(METRICS, 0.0)):
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


def event_files(folder: Path) -> list[Path]:
    """A run's event files: one, and one more for each time that it was resumed."""
    return sorted(folder.glob("events.out.tfevents.*"))


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


def hyperparameters(config: dict[str, Any]) -> dict[str, str | float]:
    """The columns of HPARAMS, the same for every agent: TensorBoard loses those that vary."""
    environment = config["environment"]
    words = ("dataset", "network", "weights", "reward", "observation")
    lists = ("num_blocks", "block_size", "reward_kwargs", "weights_kwargs")
    numbers = {name: float(config[name]) for name in ("seed", "images", "batch_size")}
    return {
        "agent": config["agent"],
        "agent_settings": compact(config["agent_settings"]),
        "env": config["env"],
        **{name: str(environment[name]) for name in words},
        **{name: compact(environment[name]) for name in lists},
        "group_size": float(environment["group_size"]),
        **numbers,
    }


def compact(value: Any) -> str:
    """A value in few characters.

    >>> compact({"rate": 0.1, "sizes": (2, 3)})
    'rate=0.1 sizes=[2,3]'
    """
    if isinstance(value, dict):
        return " ".join(f"{name}={compact(v)}" for name, v in value.items())
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def markdown(settings: dict[str, Any]) -> str:
    """A table of two columns."""
    rows = (f"| {name} | {compact(value)} |" for name, value in settings.items())
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def picture_of_use(use: np.ndarray, layer: int) -> np.ndarray:
    """Draws mean keep probabilities [num_classes, num_blocks] as RGB uint8 [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num_classes, num_blocks = use.shape
    figure = Figure(figsize=(2 + 0.25 * num_blocks, 1.2 + 0.25 * num_classes), dpi=80)
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    drawn = axes.imshow(use, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set(xlabel=f"block of gated layer {layer}", ylabel="class", yticks=range(num_classes))
    figure.colorbar(drawn, label="mean keep probability")
    figure.tight_layout()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
