"""The commands of `ccenv`, in groups, and the words of earlier versions."""

import importlib
from types import ModuleType

GROUPS = {
    "train and compare": {
        "train": "train one agent, judge it on test images",
        "compare": "run what is missing of a sweep, then show the table",
        "search": "search settings of an agent: error and total cost",
    },
    "look at runs": {
        "eval": "judge a finished run again, on any split",
        "validate": "recompute the figures of finished runs",
        "plot": "draw finished runs of any folders: page, curves, tables",
        "inspect": "write a page of single inputs: gates, blocks, cost; switch blocks by hand",
        "analyze": "which gates matter, what masks tell about labels, how well tables retrieve",
    },
    "networks and tables": {
        "list": "show agents, rewards, environments, data sets, networks and sweeps by name",
        "data": "describe a data set, download it where asked",
        "table": "build, show or pack the table of all masks of a network",
        "challenge": "beat the oracle: your policy among baselines and recorded policies",
        "benchmark": "measure speeds on this machine",
    },
    "deploy": {
        "export": "write an exported run as ONNX, or as a folder with a card for a hub",
        "serve": "answer over HTTP by an exported run, in micro-batches",
        "generate": "write a paragraph by an exported predictor of text",
    },
}
"""Group -> command -> what it does; a command is the module of its name in this folder."""
COMMANDS = {name: about for group in GROUPS.values() for name, about in group.items()}
"""Command -> what it does."""
RENAMED = {
    "show": ("inspect",),
    "leaks": ("analyze", "leaks"),
    "gates": ("analyze", "gates"),
    "retrieval": ("analyze", "retrieval"),
    "write": ("generate",),
    "share": ("export", "--share"),
    "completion": ("--completion",),
    "table judge": ("challenge",),
}
"""Words of an earlier version -> the words that do the same today."""
GONE = {"calibrate": "`auto` chooses by a rule that is the same on every machine"}
"""Word of an earlier version -> why there is nothing in its place."""
OF_THE_LAB = ("docs", "tables", "weights")
"""Words of an earlier version whose programs are not installed: a checkout has them."""


def module_of(command: str) -> ModuleType:
    """Imports a command's module; its `main` runs the command."""
    return importlib.import_module(f"{__package__}.{command}")
