"""Curves of a run for TensorBoard: the same tags for every agent.

| tag | what |
|---|---|
| `episode/*` | training batches as the agent saw them, averaged between two points |
| `eval/*` | the validation split, masks sampled |
| `test/*` | the test split, masks sampled, once at the end |
| `keep_probability/layer_<l>` | histogram over validation images and blocks |
| `block_use/layer_<l>` | map of mean keep probabilities, classes down, blocks across |
| `rollout/*`, `time/fps` | return and length of episodes, steps a second: tags of SB3 |
| `train/*` | the agent's scalars (its `agent/*`), norm of its last gradient, loss of the network |
| `settings/*`, HPARAMS | the settings, as text and as a row whose metrics are the scalars above |
| Custom Scalars, projector | see `ccenv.runs.tensorboard.charts` |

SB3 is Stable-Baselines3. Its tags run over environment steps, as its own do, so that curves share a
chart with those of a model that writes to the same folder; all other tags run over images seen.

HPARAMS takes its columns from the first run that it finds: each run names all settings of the
program, the environment and every agent of the table. Columns that a run has no value for are
empty in its row; settings of an agent of yours stand together in `other_settings`.
"""

import dataclasses
import functools
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch.utils.tensorboard.writer import SummaryWriter

from ccenv.envs.rendering import as_words
from ccenv.runs.config.typed import Settings
from ccenv.runs.config.values import compact
from ccenv.runs.store.folder import EVENTS
from ccenv.runs.store.identity import Program, environment_defaults
from ccenv.runs.tensorboard import charts
from ccenv.runs.tensorboard.charts import OF_A_RUN, block_map
from ccenv.simulator.evaluate import Evaluation
from ccenv.simulator.settings import EXTENSIONS
from ccenv.simulator.simulator import Simulator

NUM_POINTS = 400
OF_STEPS = ("rollout/", "time/", "train/")
"""Tags of Stable-Baselines3, which run over environment steps."""
BINS = np.linspace(0, 1, 51)
"""TensorFlow's own bins are a tenth wide near 1."""


def judged_scores(evaluation: Evaluation) -> dict[str, float]:
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
        self,
        folder: Path,
        config: dict[str, Any],
        simulator: Simulator,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Opens an event file; writes the settings as text, or goes on with an interrupted run.

        Args:
            folder: the run's.
            config: its settings, see `ccenv.runs.config.plan.Plan.config`.
            simulator: what the agent learns in; gives the number of gates and names of classes.
            state: what `state` gave at the checkpoint; later points are cut off, so that no point
                is there twice.
        """
        self.config, self.folder = config, folder
        self.num_gates, self.num_steps = simulator.num_layers, simulator.num_steps
        self.steps_of_image = simulator.num_steps * simulator.group_size
        numbers, letters = range(simulator.data.num_classes), simulator.data.letters
        # Letters of a text's symbols, else numbers.
        self.class_names = [as_words(np.array([number]), letters) for number in numbers]
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
            charts.clear(folder)
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
            self.writer.add_scalar(f"eval/density_{layer}", density, images_seen)
            values = evaluation.keep_probability[layer].float().cpu().numpy()
            tag = f"keep_probability/layer_{layer}"
            self.writer.add_histogram(tag, values, images_seen, bins=BINS)
            use = evaluation.block_use[layer].float().cpu().numpy()
            image = block_map(use, self.class_names)
            self.writer.add_image(f"block_use/layer_{layer}", image, images_seen, dataformats="HWC")

    def _write_scores(self, split: str, images_seen: int, evaluation: Evaluation) -> None:
        for name, value in judged_scores(evaluation).items():
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


def curves_of(means: Mapping[str, float], num_gates: int, num_steps: int) -> dict[str, float]:
    """Scalars of a listener under the board's tags, with those that Stable-Baselines3 writes.

    Args:
        means: `episode/*`, `reward/*`, `agent/*` and `time/*`.
        num_gates: of the network, by which entropies are summed.
        num_steps: of an episode; of a sequence there are as many for each position.

    >>> curves_of({"episode/return": 0.5, "agent/entropy": 3.0}, num_gates=2, num_steps=2)
    ... # doctest: +NORMALIZE_WHITESPACE
    {'episode/return': 0.5, 'rollout/ep_rew_mean': 0.5, 'rollout/ep_len_mean': 2.0,
     'train/entropy': 3.0, 'train/entropy_loss': -1.5}
    """
    curves: dict[str, float] = {}
    for tag, mean in means.items():
        curves[tag.replace("agent/", "train/", 1) if tag.startswith("agent/") else tag] = mean
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


def too_short(folder: Path, sizes: dict[str, int]) -> list[str]:
    """Names of event files that hold less than a checkpoint knows, or are gone."""
    here = {path.name: path.stat().st_size for path in event_files(folder)}
    return [name for name, size in sizes.items() if here.get(name, 0) < size]


def wait_for_a_later_name(folder: Path) -> None:
    """Waits, for a second at most, until a new event file's name comes after those that are there.

    TensorBoard reads a run's files by name, which starts with the second of their making.
    """
    stamps = [int(path.name.split(".")[3]) for path in event_files(folder)]
    deadline = time.time() + 1.1
    while int(time.time()) <= max(stamps, default=0) and time.time() < deadline:
        time.sleep(0.02)


SCORES = ("error", "nll", "compute_cost", "total_cost", "density")
METRICS = tuple(f"{split}/{name}" for split in ("test", "eval") for name in SCORES)
"""Scalars that the row shows: the last point of each."""
OTHERS = "other_settings"
"""Column of settings that have none of their own."""
FIRST = ("agent", "dataset", "network", "reward", "reward_kwargs", "seed", "learning_rate")
"""Columns that come first and are shown without being asked for."""
NOT_SHOWN = ("log_dir", "progress")


@functools.cache
def columns() -> tuple[str, ...]:
    """Names of all columns, the same for every agent; those that one looks at `FIRST`."""
    program = [field.name for field in dataclasses.fields(Program)]
    names = dict.fromkeys([*FIRST, *program, *environment_defaults(), *EXTENSIONS])
    # Settings of all agents by name: to ask their classes would import them.
    names |= dict.fromkeys([*sorted(Settings.__annotations__), OTHERS])
    return tuple(name for name in names if name not in NOT_SHOWN)


def hyperparameters(config: Mapping[str, Any]) -> dict[str, str | float]:
    """A run's values of the columns that it has; numbers as floats, all else as short text."""
    program = {k: v for k, v in config.items() if not isinstance(v, Mapping)}
    flat = {**config["agent_settings"], **config["environment"], **program}
    known = {name: flat[name] for name in columns() if name in flat}
    rest = {k: v for k, v in flat.items() if k not in known and k not in NOT_SHOWN}
    known |= {OTHERS: rest} if rest else {}
    return {name: cell(value) for name, value in known.items()}


def cell(value: Any) -> str | float:
    """A value as HPARAMS shows it.

    >>> cell(2), cell(True), cell(None), cell((10, 10))
    (2.0, 'true', 'null', '[10,10]')
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else compact(value)


def summaries(config: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """What makes the row: columns and metrics; the run's values; that it ended well.

    As `torch.utils.tensorboard.summary.hparams`, which knows a run's own columns only.
    """
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
    from torch.utils.tensorboard.summary import hparams

    values = hyperparameters(config)
    experiment, started, ended = hparams(values, dict.fromkeys(METRICS, 0.0))
    numbers, texts = api_pb2.DATA_TYPE_FLOAT64, api_pb2.DATA_TYPE_STRING
    infos = [
        api_pb2.HParamInfo(
            name=name,
            type=numbers if isinstance(values.get(name), float) else texts,
            differs=name in FIRST,
        )
        for name in columns()
    ]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in METRICS]
    content = api_pb2.Experiment(hparam_infos=infos, metric_infos=metrics)
    data = plugin_data_pb2.HParamsPluginData(experiment=content, version=0)
    experiment.value[0].metadata.plugin_data.content = data.SerializeToString()
    return experiment, started, ended
