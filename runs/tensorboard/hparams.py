"""A run's row in TensorBoard's HPARAMS tab: settings -> a column each, the same in every run.

TensorBoard takes its columns from the first run that it finds: each run names all settings of the
program, the environment and every agent of the table. Columns that a run has no value for are
empty in its row; settings of an agent of yours stand together in `other_settings`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from ccenv.runs.config.typed import Settings
from ccenv.runs.config.values import compact
from ccenv.runs.store.identity import Program, environment_defaults
from ccenv.simulator.settings import EXTENSIONS

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
