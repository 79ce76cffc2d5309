"""Words after ccenv: command -> the module whose `main` runs it, and what it does."""

COMMANDS = {
    "train": ("ccenv.runs.train", "train one agent, judge it on test images"),
    "compare": ("ccenv.runs.compare", "run what is missing of a sweep, then show the table"),
    "eval": ("ccenv.runs.eval", "judge a finished run again, on any split"),
    "plot": ("ccenv.runs.plot", "draw finished runs of any folders: page, curves, front, tables"),
    "show": (
        "ccenv.runs.view",
        "a page of single inputs: gates, blocks, cost; switch them by hand",
    ),
    "search": ("ccenv.runs.search", "search settings of an agent: error and total cost"),
    "list": (
        "ccenv.runs.list",
        "agents, rewards, environments, data sets, networks and sweeps by name",
    ),
    "validate": ("ccenv.runs.validate", "recompute the figures of finished runs"),
    "leaks": ("ccenv.runs.leaks", "guess labels from the blocks that finished runs touched"),
    "retrieval": (
        "ccenv.runs.retrieval",
        "measure the recall of winner-take-all tables over their memory",
    ),
    "benchmark": ("ccenv.runs.benchmark", "measure speeds on this machine"),
    "calibrate": (
        "ccenv.runs.calibrate",
        "measure once how fast this machine computes layers, for auto to choose by",
    ),
    "gates": ("ccenv.runs.gates", "tell which gates of a network matter, leaving out each in turn"),
    "table": (
        "ccenv.runs.table",
        "build, show or pack the table of all masks of a frozen network; rank policies by it",
    ),
    "data": ("ccenv.data.__main__", "describe a data set, download it where asked"),
    "write": ("ccenv.runs.write", "write a paragraph by an exported predictor of text"),
    "export": ("ccenv.runs.export", "write an exported run as ONNX, and compare it with itself"),
    "share": ("ccenv.runs.share", "gather an exported run with a card, or upload it to a hub"),
    "serve": ("ccenv.runs.serve", "answer over HTTP by an exported run, in micro-batches"),
    "completion": ("ccenv.runs.completion", "print what lets a shell complete these commands"),
}
"""Command -> its module, imported on use, and what it does."""
