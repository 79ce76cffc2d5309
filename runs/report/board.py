"""Serves TensorBoard on finished and running runs, under short names.

TensorBoard names a run by its folder's path, which says all that was chosen and ends in a hash.
Here a run is called by its agent, the settings that differ between the runs below the folder, and
its seed. Nothing is copied or linked.
"""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccenv.runs.engine.collect_runs import row_labels, settings_of
from ccenv.runs.store import json_file
from ccenv.runs.store.folder import CONFIG, EVENTS

SECONDS = 5
"""Between two looks for new runs and points."""


def board_names(root: Path) -> dict[Path, str]:
    """Names of all folders with curves at or below a folder.

    A folder that holds no run of ccenv (means of a sweep, a model of Stable-Baselines3), and the
    second of two runs of one name, is called by its path, as TensorBoard does.
    """
    folders = sorted({path.parent for path in root.rglob(EVENTS)})
    configs = {folder: config for folder in folders if (config := config_of(folder))}
    rows = {folder: settings_of({"settings": config}) for folder, config in configs.items()}
    agents = {folder: configs[folder]["agent"] for folder in rows}
    kinds = {(agents[f], *sorted(row.items())): (agents[f], row) for f, row in rows.items()}
    labels = dict(zip(kinds, row_labels(list(kinds.values())), strict=True))
    names: dict[Path, str] = {}
    for folder in folders:
        name = path = folder.relative_to(root).as_posix()
        if folder in rows:
            label = labels[agents[folder], *sorted(rows[folder].items())]
            name = f"{label} seed {configs[folder]['seed']}"
        names[folder] = path if name in names.values() else name
    return names


def config_of(folder: Path) -> dict[str, Any] | None:
    """Settings of a run's folder, None of any other and of a run that is only starting."""
    try:
        config = json_file.check_json(folder / CONFIG)
    except (OSError, ValueError):
        return None
    named = isinstance(config, dict) and {"agent", "seed", "environment"} <= config.keys()
    return config if named else None


def add_runs(multiplexer: Any, root: Path, names: Mapping[Path, str]) -> dict[Path, str]:
    """Adds runs that are new to what TensorBoard shows; the others keep their names.

    Args:
        multiplexer: TensorBoard's.
        root: where to look for runs.
        names: of runs that are shown.

    Returns:
        Names of all runs that are shown now.
    """
    shown = dict(names)
    for folder, name in board_names(root).items():
        if folder not in shown:
            shown[folder] = name
            multiplexer.AddRun(str(folder), name)
    multiplexer.Reload()
    return shown


def serve_board(root: Path, port: int | None = None) -> None:
    """Serves until it is stopped; new runs appear while it does.

    Args:
        root: folder with runs below.
        port: of the page; None for 6006, or the next one that is free.

    Raises:
        ValueError: if there is no such folder, or the port is taken.
    """
    if not root.is_dir():
        raise ValueError(
            f"expected a folder with runs, got {root}, which is none; ccenv train makes one"
        )
    from tensorboard.backend.application import TensorBoardWSGIApp
    from tensorboard.backend.event_processing.data_ingester import LocalDataIngester
    from tensorboard.program import TensorBoard, TensorBoardServerException

    board = TensorBoard()
    board.configure([], logdir=str(root), port=port)
    # Holds the runs; what it would do by itself is to add each by its path.
    ingester = LocalDataIngester(board.flags)
    keep_adding(ingester.deprecated_multiplexer, root)
    app = TensorBoardWSGIApp(
        board.flags,
        board.plugin_loaders,
        ingester.data_provider,
        board.assets_zip_provider,
        ingester.deprecated_multiplexer,
    )
    try:
        server = board.server_class(app, board.flags)
    except TensorBoardServerException as error:
        raise ValueError(f"expected a free port, got {port}: {error.msg}") from error
    server.print_serving_message()
    server.serve_forever()


def keep_adding(multiplexer: Any, root: Path) -> None:
    """Adds the runs that are there, and in the background those that come."""

    def forever() -> None:
        names: dict[Path, str] = {}
        while True:
            names = add_runs(multiplexer, root, names)
            time.sleep(SECONDS)

    threading.Thread(target=forever, daemon=True).start()
