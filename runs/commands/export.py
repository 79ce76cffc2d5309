"""An exported run for others: ccenv export FOLDER_OR_FILE --onnx -> a file.

With --share: a folder with a card to give away, also on a hub.
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccenv.base.files import write_whole
from ccenv.runs.commands.frame import program, takes_trust
from ccenv.runs.stats.measures import MODES, evaluation
from ccenv.runs.store import folder as run_folder
from ccenv.runs.store.seal import check_result, edited
from ccenv.runs.store.untrusted_files import (
    EXPORTED,
    exported_file,
    stored_config,
    stored_file,
    stored_object,
    stored_text,
)

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


def card_text(result: Mapping[str, Any], command: str) -> str:
    """What a hub shows of a run: its settings in a sentence, its figures as a table, its use."""
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


def gather_shared(run: Path, out: Path) -> None:
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
    text = card_text(result, stored_text(run, run_folder.COMMAND).strip())
    check_own(out)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, out / EXPORTED)
    shutil.copyfile(settings, out / run_folder.CONFIG)
    write_whole(out / CARD, text)


def check_own(out: Path) -> None:
    """Refuses a folder that holds, or is, something else than plain files of `SHARED`."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ValueError(f"expected {out} to be a folder, or nothing yet, got something else")
    inside = sorted(out.iterdir()) if out.is_dir() else []
    if other := [path.name for path in inside if path.name not in SHARED]:
        raise ValueError(f"expected {out} to be new or empty, got {', '.join(other)} in it")
    if other := [path.name for path in inside if path.is_symlink() or not path.is_file()]:
        raise ValueError(f"expected plain files in {out}, got something else as {other[0]}")


def push(folder: Path, name: str) -> str:
    """Uploads a folder to the Hugging Face Hub under the logged-in account, and says where."""
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


SPLIT, IMAGES = "test", 10_000
OPTIONS = {"onnx": ("skip", "masks", "dataset", "split", "images", "trust"), "share": ("push",)}
"""Form -> its options; both take --out."""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="ccenv export",
        description="Writes an exported run as ONNX and compares it with itself on a split; or "
        "gathers its classifier, settings and a card in a folder, to give away.",
        allow_abbrev=False,
    )
    parser.add_argument("place", type=Path, help="a run's folder (--export), or the file it left")
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--onnx", action="store_true", help="write a file for ONNX's runtimes")
    form.add_argument("--share", action="store_true", help="gather a run's files and a card")
    parser.add_argument(
        "--out",
        type=Path,
        help="of --onnx: classifier.onnx next to the safetensors file by default; "
        "of --share: the folder shared in the run's",
    )
    onnx = parser.add_argument_group("of --onnx")
    onnx.add_argument("--skip", action="store_true", help="also a form of one input that skips")
    onnx.add_argument("--masks", choices=("mode", "sampled"), help="as the run does by default")
    onnx.add_argument("--dataset", help="the run's own by default")
    onnx.add_argument("--split", help=f"{SPLIT} by default")
    onnx.add_argument("--images", type=int, help=f"inputs compared at most; {IMAGES:,} by default")
    takes_trust(parser, "the file names")
    share = parser.add_argument_group("of --share")
    share.add_argument("--push", metavar="OWNER/NAME", help="upload it to the Hugging Face Hub")
    return parser


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; an option of the form that is not written is refused."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    form, other = ("share", "onnx") if options.share else ("onnx", "share")
    for name in OPTIONS[other]:
        if getattr(options, name):
            parser.error(f"expected --{name} with --{other}, got it with --{form}")
    return options


@program("ccenv export")
def main(arguments: Sequence[str] | None = None) -> int:
    """Writes an exported run as ONNX, or gathers it to be shared; see --help."""
    options = read_options(arguments)
    if options.share:
        out = options.out or options.place / "shared"
        gather_shared(options.place, out)
        print(out)
        if options.push:
            print(push(out, options.push))
    else:
        from ccenv.runs.engine.onnx_export import export_onnx

        export_onnx(
            options.place,
            options.out,
            draw=options.masks,
            dataset=options.dataset,
            split=options.split or SPLIT,
            count=IMAGES if options.images is None else options.images,
            skip=options.skip,
            trust=options.trust,
        )
    return 0
