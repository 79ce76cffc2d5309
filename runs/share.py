"""A run to give away: ccenv share RUN -> a folder with its classifier and a card, or on a hub."""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.programs import program
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.exported import EXPORTED, exported_file
from ccenv.runs.store.json_file import write_text
from ccenv.runs.store.stored import stored_object

CARD = "README.md"
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


def card(config: Mapping[str, Any], result: Mapping[str, Any], command: str) -> str:
    """What a hub shows of a run: its settings in a sentence, its figures as a table, its use.

    Args:
        config: of its `config.json`.
        result: of its `result.json`.
        command: that makes it again.
    """
    environment = config["environment"]
    rows = [
        f"| {one['mode']} | {one['error']:.2%} | {one['compute_cost']:.4f} "
        f"| {one['total_cost']:.4f} |"
        for one in result["evaluations"]
        if one["split"] == "test"
    ]
    lines = [
        f"# {config['agent']} on {environment['dataset']}\n",
        f"Network `{environment['network']}`, reward `{environment['reward']}`, seed "
        f"{config['seed']}, {result['images_seen']:,} training images. On the test split:\n",
        "| masks | error | compute cost | with the policy |",
        "|---|---:|---:|---:|",
        *rows,
    ]
    return HEAD + "\n".join(lines) + "\n" + USE.format(command=command)


def gather(run: Path, out: Path) -> None:
    """Copies what a stranger needs of a run, and writes its card.

    Args:
        run: a run's folder, trained with --export.
        out: a folder that is new or empty.

    Raises:
        ValueError: if the run has not been exported, or something else lies in `out`.
    """
    if not run.is_dir():
        raise ValueError(f"expected the folder of a run, got {run}; ccenv train says where it is")
    source = exported_file(run)
    config, result = (stored_object(run, n) for n in (run_folder.CONFIG, run_folder.RESULT))
    ours = {EXPORTED, run_folder.CONFIG, CARD}
    if out.is_dir() and (other := {path.name for path in out.iterdir()} - ours):
        raise ValueError(f"expected {out} to be new or empty, got {', '.join(sorted(other))} in it")
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, out / EXPORTED)
    shutil.copyfile(run / run_folder.CONFIG, out / run_folder.CONFIG)
    command = (run / run_folder.COMMAND).read_text().strip()
    write_text(out / CARD, card(config, result, command))


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
    return str(hub.upload_folder(folder_path=str(folder), repo_id=name))


@program("ccenv share")
def main(arguments: Sequence[str] | None = None) -> int:
    """Puts a run's classifier, settings and a card in a folder, and on a hub if asked to."""
    parser = argparse.ArgumentParser(
        prog="ccenv share", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("run", type=Path, help="a run's folder, trained with --export")
    parser.add_argument("--out", type=Path, help="the folder; shared in the run's by default")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload it to the Hugging Face Hub")
    options = parser.parse_args(arguments)
    out = options.out or options.run / "shared"
    gather(options.run, out)
    print(out)
    if options.push:
        print(push(out, options.push))
    return 0


if __name__ == "__main__":
    sys.exit(main())
