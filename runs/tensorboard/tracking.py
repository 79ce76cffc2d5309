"""Curves of a run for TensorBoard: the same tags for every agent.

| tag | what |
|---|---|
| `eval/*` | the validation split, masks sampled |
| `eval_over_macs/error` | error of all validations; x is not inputs but MACs of an input |
| `reward/*` | terms of the reward |
| `rollout/*`, `time/fps` | return and length of episodes, steps a second: tags of SB3 |
| `test/*` | the test split, masks sampled, once at the end |
| `train/*` | the agent's scalars (its `agent/*`), norm of its last gradient, loss of the network |
| `training/*` | batches as the agent saw them (`episode/*`), averaged between two points |
| `use/density_<l>` | share of blocks kept in validation, gate by gate |
| `use/keep_probability_<l>` | histogram over validation inputs and blocks |
| `use/by_class` | maps of mean keep probabilities on the test split, classes down, blocks across |
| `settings/*`, HPARAMS | the settings, as text and as a row |
| Custom Scalars | see `ccenv.runs.tensorboard.charts` |

SB3 is Stable-Baselines3. Its tags run over environment steps, as its own do, so that curves share a
chart with those of a model that writes to the same folder; all other tags run over images seen.

TensorBoard shows groups of tags by name, and HPARAMS the first five: validation comes first,
pictures (`use/*`) last.
"""

import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import SummaryWriter

from ccenv.base.registry import resolve
from ccenv.rewards import REWARDS, reward_parameters
from ccenv.runs.config.values import compact, fits_json
from ccenv.runs.store.folder import EVENTS
from ccenv.runs.tables.drawing import drawn_in_style, drawn_maps, pixels, saved
from ccenv.runs.tensorboard.charts import OF_A_RUN
from ccenv.simulator.evaluate import Evaluation
from ccenv.simulator.simulator import Simulator

NUM_POINTS = 400
OF_STEPS = ("rollout/", "time/", "train/")
"""Tags of Stable-Baselines3, which run over environment steps."""
GROUPS = {"agent": "train", "episode": "training"}
"""What groups of a listener's scalars are called here."""
FOLDER = "folder"
"""Of the settings as text: the run's folder."""
OVER_MACS = "eval_over_macs/error"
BINS = np.linspace(0, 1, 51)
"""TensorFlow's own bins are a tenth wide near 1."""


class Tracker:
    """Writes one run's event file."""

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        simulator: Simulator,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Opens an event file; writes the settings as text, or goes on with an interrupted run.

        Args:
            folder: of the curves.
            config: settings, see `ccenv.runs.config.plan.Plan.config`, and the run's `FOLDER`.
            simulator: what the agent learns in; gives the number of gates.
            state: what `state` gave at the checkpoint; later points are cut off, so that no point
                is there twice.
        """
        self.config, self.folder = config, folder
        self.num_gates, self.num_steps = simulator.num_layers, simulator.num_steps
        self.steps_of_image = simulator.num_steps * simulator.group_size
        self._every = config["images"] / NUM_POINTS
        self._next = 0.0
        self._pending: dict[str, list[float]] = defaultdict(list)
        if state is not None:
            for path in event_files(folder):
                if path.name in state["sizes"]:
                    os.truncate(path, state["sizes"][path.name])
                else:
                    path.unlink()
            wait_for_a_later_name(folder)
            self._next = state["next"]
            self._pending.update(state["pending"])
        self.writer = SummaryWriter(str(folder))
        if state is None:
            self._write_settings(config)

    def _write_settings(self, config: dict[str, Any]) -> None:
        groups = {name: config[name] for name in ("environment", "agent_settings")}
        groups["run"] = {k: v for k, v in config.items() if not isinstance(v, dict)}
        for group, settings in groups.items():
            rows = (f"| {name} | {compact(value)} |" for name, value in settings.items())
            text = "\n".join(["| setting | value |", "|---|---|", *rows])
            self.writer.add_text(f"settings/{group}", text, 0)
        self.writer.add_custom_scalars(OF_A_RUN)

    def state(self) -> dict[str, Any]:
        """What is written so far, and what waits to be written."""
        self.writer.flush()
        sizes = {path.name: path.stat().st_size for path in event_files(self.folder)}
        return {"sizes": sizes, "next": self._next, "pending": dict(self._pending)}

    def is_due(self, images_seen: int) -> bool:
        """Whether the next `rollout` writes a point of each curve."""
        return images_seen >= self._next

    def rollout(self, images_seen: int, scalars: Mapping[str, float]) -> None:
        """Takes what an update gave; writes means, often enough for a smooth curve."""
        for tag, value in scalars.items():
            self._pending[tag].append(value)
        if self.is_due(images_seen):
            self._flush(images_seen)
            self._next = images_seen + self._every

    def _flush(self, images_seen: int) -> None:
        means = {tag: float(np.mean(values)) for tag, values in self._pending.items()}
        for tag, mean in curves_of(means, self.num_gates, self.num_steps).items():
            is_of_steps = tag.startswith(OF_STEPS)
            step = images_seen * self.steps_of_image if is_of_steps else images_seen
            self.writer.add_scalar(tag, mean, step)
        self._pending.clear()

    def evaluation(self, images_seen: int, evaluation: Evaluation) -> None:
        """Writes an evaluation on validation images: scores, keep probabilities, block use."""
        self._write_scores("eval", images_seen, evaluation)
        for layer, density in enumerate(evaluation.density):
            self.writer.add_scalar(f"use/density_{layer}", density, images_seen)
            values = evaluation.keep_probability[layer].float().cpu().numpy()
            tag = f"use/keep_probability_{layer}"
            self.writer.add_histogram(tag, values, images_seen, bins=BINS)

    def _write_scores(self, split: str, images_seen: int, evaluation: Evaluation) -> None:
        for name in ("error", "nll", "compute_cost", "total_cost"):
            self.writer.add_scalar(f"{split}/{name}", getattr(evaluation, name), images_seen)
        blocks = [mask.shape[1] for mask in evaluation.masks]
        density = float(np.average(evaluation.density, weights=blocks))
        self.writer.add_scalar(f"{split}/density", density, images_seen)

    def finish(
        self, images_seen: int, test: Evaluation, validations: Sequence[Mapping[str, Any]]
    ) -> None:
        """Writes the verdict on test inputs, error over cost and the row of HPARAMS.

        Args:
            images_seen: by the end.
            test: verdict on test inputs.
            validations: `Evaluation.numbers` of each, in order.
        """
        self._flush(images_seen)
        self._write_scores("test", images_seen, test)
        # Where all blocks are kept alike, a map would have one colour.
        if any(bool(values.min() < values.max()) for values in test.keep_probability):
            maps = [use.float().cpu().numpy() for use in test.block_use]
            with drawn_in_style():
                png = saved(drawn_maps(maps), "png", dpi=100, facecolor="white")
            self.writer.add_image("use/by_class", pixels(png), images_seen, dataformats="HWC")
        # TensorBoard drops what lies right of a later point: they are written from left to right.
        points = {round(one["macs"]): one["error"] for one in validations if one["macs"]}
        for macs, error in sorted(points.items()):
            self.writer.add_scalar(OVER_MACS, error, macs)
        # The row of HPARAMS: the run's values; that it ended well. Columns and metrics are left to
        # TensorBoard, which finds what the runs that it shows have. SummaryWriter.add_hparams would
        # open a second run in a folder of its own.
        _, started, ended = hparams(hyperparameters(self.config), {})
        for summary in (started, ended):
            self.writer._get_file_writer().add_summary(summary)

    def close(self) -> None:
        """Closes the event file."""
        self.writer.close()


def curves_of(means: Mapping[str, float], num_gates: int, num_steps: int) -> dict[str, float]:
    """Scalars of a listener under the board's tags, with those that Stable-Baselines3 writes.

    Args:
        means: `episode/*`, `reward/*`, `agent/*` and `time/*`.
        num_gates: of the network, by which entropies are summed.
        num_steps: of an episode; of a sequence there are as many for each position.

    >>> curves_of({"episode/return": 0.5, "agent/entropy": 3.0}, num_gates=2, num_steps=2)
    ... # doctest: +NORMALIZE_WHITESPACE
    {'training/return': 0.5, 'rollout/ep_rew_mean': 0.5, 'rollout/ep_len_mean': 2.0,
     'train/entropy': 3.0, 'train/entropy_loss': -1.5}
    """
    curves: dict[str, float] = {}
    for tag, mean in means.items():
        group, _, name = tag.partition("/")
        curves[f"{GROUPS.get(group, group)}/{name}"] = mean
        if tag == "episode/return":
            curves["rollout/ep_rew_mean"] = mean
            curves["rollout/ep_len_mean"] = float(num_steps)
        if tag == "agent/entropy":
            # Ours is the entropy of an episode's masks, theirs minus that of one step's.
            curves["train/entropy_loss"] = -mean / num_gates
    return curves


def event_files(folder: Path) -> list[Path]:
    """A run's event files: one, and one more for each time that it was resumed."""
    return sorted(folder.glob(EVENTS))


def wait_for_a_later_name(folder: Path) -> None:
    """Waits, for a second at most, until a new event file's name comes after those that are there.

    TensorBoard reads a run's files by name, which starts with the second of their making.
    """
    stamps = [int(path.name.split(".")[3]) for path in event_files(folder)]
    deadline = time.time() + 1.1
    while int(time.time()) <= max(stamps, default=0) and time.time() < deadline:
        time.sleep(0.02)


NOT_SHOWN = ("log_dir", "progress", FOLDER)
"""Settings that are no hyperparameters."""


def hyperparameters(config: Mapping[str, Any]) -> dict[str, str | float]:
    """A run's settings by name; numbers as floats, all else as short text.

    Every argument of the reward is there, at its default too: TensorBoard ticks columns in which
    runs differ, and to it a run without a value differs from none.
    """
    program = {k: v for k, v in config.items() if not isinstance(v, Mapping)}
    environment = dict(config["environment"])
    reward = resolve(environment["reward"], REWARDS, "reward")
    arguments = (reward_parameters(reward) or {}) | environment.pop("reward_kwargs")
    flat = {**config["agent_settings"], **environment, **program}
    flat |= {f"reward_kwargs.{name}": v for name, v in arguments.items() if fits_json(v)}
    return {name: cell(value) for name, value in flat.items() if name not in NOT_SHOWN}


def cell(value: Any) -> str | float:
    """A value as HPARAMS shows it.

    >>> cell(2), cell(True), cell(None), cell((10, 10))
    (2.0, 'true', 'null', '[10,10]')
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else compact(value)
