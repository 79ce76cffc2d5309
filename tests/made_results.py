"""Results as runs leave them, made up: for comparisons, tables and reports."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin

from ccenv.runs.config.command import read_config
from ccenv.runs.config.settings import make_plan
from ccenv.runs.engine import jobs, sweep_runs
from ccenv.runs.report.figures import make_looks, view_figures
from ccenv.runs.report.views import make_views
from ccenv.runs.tensorboard.names import curves_folder

SEEDS = (0, 1, 2)


def curves_of(folder):
    """The folder of a run's curves for TensorBoard."""
    settings = read_config(Path(folder) / "config.json", trusted=sys.modules)
    return curves_folder(make_plan(settings.pop("agent"), settings))


def server_context(logs):
    """What TensorBoard's server gives its tabs."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logs))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(logs))
    return base_plugin.TBContext(data_provider=provider, logdir=str(logs))


def charts_of(context):
    """The charts of Custom Scalars."""
    layout = CustomScalarsPlugin(context).layout_impl(RequestContext(), "0")
    (category,) = json.loads(layout)["category"]
    return category["chart"]


def evaluation(split, mode, error, macs=100.0, cost=0.1, density=(0.1,)):
    verdict = {"split": split, "mode": mode, "num_images": 500, "error": error, "nll": 1.0}
    verdict |= {"compute_cost": cost, "policy_cost": 0.05, "total_cost": cost + 0.05}
    return verdict | {"macs": macs, "density": list(density), "mean_return": -1.0}


def result(agent, seed, macs, error, validation=None, *, environment=None, cost=0.1, **more):
    """What a comparison reads of a run; each seed has a thousandth more errors."""
    of_validation = error if validation is None else validation
    settings = {"environment": {"dataset": "mnist"} | (environment or {}), "agent_settings": {}}
    one = {
        "agent": agent,
        "seed": seed,
        "reward": "accuracy_minus_cost",
        "evaluations": [
            evaluation("test", "sampled", error + 0.001 * seed, macs, cost),
            evaluation("test", "mode", error + 0.001 * seed, macs, cost),
            evaluation("validation", "sampled", of_validation + 0.001 * seed, macs, cost),
        ],
        "latency": [{"batch_size": size, "milliseconds": macs / 1000} for size in (1, 256)],
        "settings": settings,
        "uses_labels": agent == "oracle",
        "learns": agent not in ("dense", "block_dropout", "oracle"),
    }
    return one | more


def runs(agent, macs, error, validation=None, **more):
    """A row of three seeds."""
    return [result(agent, seed, macs, error, validation, **more) for seed in SEEDS]


def table_row(label, error, macs, *, half=0.01, seeds=3, learns=False, **more):
    """A row of a comparison as its table and its sentences read it."""
    return {
        "label": label,
        "method": label,
        "agent": label,
        "shaping": "accuracy_minus_cost",
        "added": False,
        "dataset": "digits",
        "learns": learns,
        "uses_labels": False,
        "verdict": "better" if learns else "",
        "above_random": None,
        "seeds": tuple(range(seeds)),
        "error": {"mean": error, "sd": 0.0, "low": error - half, "high": error + half},
        "bits": None,
        "macs": None if macs is None else {"mean": macs},
        "total_cost": None if macs is None else {"mean": macs / 1000},
        "masks": "sampled",
        "other_masks": None,
        "on_front": False,
        "memory_bytes": None,
        **more,
    }


def drawn_views(results, folder, greedy=False):
    """Views and figures of results by label, as a report makes them."""
    comparison = SimpleNamespace(results=results, deterministic=greedy, name="made")
    views = make_views(comparison, folder)
    return views, view_figures(comparison, views, make_looks(results))


def compared(sweep, result_of, missing=()):
    """A comparison of the results of its jobs, without rows of these labels."""
    all_jobs = jobs.make_jobs(sweep, "unused")
    done = (
        sweep_runs.Finished(job.label, result_of(job))
        for job in all_jobs
        if job.label not in missing
    )
    absent = (job for job in all_jobs if job.label in missing)
    return sweep_runs.SweepRuns(sweep, tuple(done), tuple(absent))


def whole_result(job, error=0.1, cost=0.2):
    """What a whole report can be made of: the result of a job."""
    seed, blocks = job.plan.program.seed, job.plan.environment["num_blocks"]
    whole = result(job.agent, seed, 40_000.0, error)
    for verdict in whole["evaluations"]:
        verdict |= {"compute_cost": cost, "total_cost": cost + 0.05}
        verdict |= {"macs": 200_000 * verdict["total_cost"]}
        verdict |= {"density": [cost] * len(blocks)}
    for pass_ in whole["latency"]:
        pass_ |= {"dense_milliseconds": 1.0, "speedup": 2.0, "num_threads": 1}
        pass_ |= {"speedup_low": 1.0, "speedup_high": 3.0}
    (validation,) = (e for e in whole["evaluations"] if e["split"] == "validation")
    curve = [{"images_seen": n, **validation} for n in (0, 40_000, 80_000, 120_000)]
    return whole | {
        "env": job.plan.program.env,
        "reward": job.plan.environment["reward"],
        "settings": json.loads(json.dumps(job.plan.config())),
        "code": {},
        "dense_macs": 200_000,
        "policy_macs": [25] * len(blocks),
        "versions": {"python": "3.11", "torch": "2.8"},
        "machine": {"cpu": "A <fast> CPU", "cores": 2, "threads": 1},
        "curve": curve,
        "block_use": [[[50] * n] * 10 for n in blocks],
        "total_seconds": 2.0,
    }
