"""A run to give away: ccenv export RUN --share -> a folder with a card, or on a hub."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccenv.runs.stats.results import MODES, evaluation
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.exported import EXPORTED, exported_file
from ccenv.runs.store.json_file import write_text
from ccenv.runs.store.result_checks import check_result, edited
from ccenv.runs.store.stored import stored_config, stored_file, stored_object, stored_text

CARD = "README.md"
SHARED = (EXPORTED, run_folder.CONFIG, CARD)
"""What is copied, written and uploaded."""
HEAD = """---
library_name: ccenv
tags: [conditional-computation, reinforcement-learning]
---
"""
USE = f"""
Policy and network in one file, without pickle; blocks that the policy skips are not computed.

```python
from ccenv.deploy.export import SkippingClassifier

classifier = SkippingClassifier.load("{EXPORTED}")
```

Made by `{{command}}`; `{run_folder.CONFIG}` holds every setting.
"""


def card(result: Mapping[str, Any], command: str) -> str:
    """What a hub shows of a run: its settings in a sentence, its figures as a table, its use.

    Args:
        result: of its `result.json`, as `check_result` passes it.
        command: that makes it again.

    Raises:
        ValueError: if the network's name or the number of training images is missing.
    """
    environment = result["settings"]["environment"]
    network, images = environment.get("network"), result.get("images_seen")
    if not isinstance(network, str) or not isinstance(images, int):
        raise edited(run_folder.RESULT, "a network's name and images_seen", (network, images))
    rows = [
        f"| {one['mode']} | {one['error']:.2%} | {one['compute_cost']:.4f} "
        f"| {one['total_cost']:.4f} |"
        for one in (evaluation(result, mode) for mode in MODES)
    ]
    lines = [
        f"# {result['agent']} on {environment['dataset']}\n",
        f"Network `{network}`, reward `{result['reward']}`, seed {result['seed']}, "
        f"{images:,} training images. On the test split:\n",
        "| masks | error | compute cost | with the policy |",
        "|---|---:|---:|---:|",
        *rows,
    ]
    return HEAD + "\n".join(lines) + "\n" + USE.format(command=command)


def gather(run: Path, out: Path) -> None:
    """Copies what a stranger needs of a run, and writes its card.

    Args:
        run: a run's folder, trained with --export; what is read of it are plain files.
        out: a folder that is new or empty.

    Raises:
        ValueError: if the run has not been exported, is damaged or holds a link instead of a file;
            or if something else lies in `out`.
    """
    if not run.is_dir():
        raise ValueError(f"expected the folder of a run, got {run}; ccenv train says where it is")
    source, settings = exported_file(run), stored_file(run, run_folder.CONFIG)
    stored_config(run)
    result = check_result(stored_object(run, run_folder.RESULT), str(run / run_folder.RESULT))
    text = card(result, stored_text(run, run_folder.COMMAND).strip())
    check_own(out)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, out / EXPORTED)
    shutil.copyfile(settings, out / run_folder.CONFIG)
    write_text(out / CARD, text)


def check_own(out: Path) -> None:
    """Refuses a folder that holds, or is, something else than plain files of `SHARED`.

    Raises:
        ValueError: naming what lies there.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ValueError(f"expected {out} to be a folder, or nothing yet, got something else")
    inside = sorted(out.iterdir()) if out.is_dir() else []
    if other := [path.name for path in inside if path.name not in SHARED]:
        raise ValueError(f"expected {out} to be new or empty, got {', '.join(other)} in it")
    if other := [path.name for path in inside if path.is_symlink() or not path.is_file()]:
        raise ValueError(f"expected plain files in {out}, got something else as {other[0]}")


def push(folder: Path, name: str) -> str:
    """Uploads a folder to the Hugging Face Hub, as whoever has logged in there, and says where.

    Args:
        folder: of `gather`.
        name: "owner/name"; made where there is none.

    Raises:
        ValueError: if the library is missing.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ValueError(
            f"expected huggingface_hub, got {error}; pip install huggingface_hub, then hf auth "
            f"login; or upload {folder} yourself"
        ) from error
    hub = HfApi()
    hub.create_repo(name, exist_ok=True)
    known = list(SHARED)
    return str(hub.upload_folder(folder_path=str(folder), repo_id=name, allow_patterns=known))


def share_run(run: Path, out: Path | None, hub_name: str | None) -> None:
    """Gathers a run's files and prints where; uploads them where a name is given.

    Args:
        run: see `gather`.
        out: the folder; `shared` in the run's if None.
        hub_name: see `push`.

    Raises:
        ValueError: see `gather` and `push`.
    """
    out = out or run / "shared"
    gather(run, out)
    print(out)
    if hub_name:
        print(push(out, hub_name))
