"""An exported run for others: ccenv export FOLDER_OR_FILE --onnx -> a file; --share -> a folder."""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.base.clock import seconds_in_turns
from ccenv.base.seeding import stream
from ccenv.data import load_split
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.onnx_check import Agreement, Session, compare
from ccenv.deploy.onnx_file import check_installed, write_onnx
from ccenv.runs.commands.frame import program, takes_trust
from ccenv.runs.commands.share import share_run
from ccenv.runs.engine.checkpoint import warn
from ccenv.runs.stats.mask_gap import mask_gap
from ccenv.runs.store.exported import dataset_of, exported_file

SPLIT, IMAGES = "test", 10_000
OPTIONS = {"onnx": ("skip", "draw", "dataset", "split", "images", "trust"), "share": ("push",)}
"""Form -> its options; both take --out."""
MOST_APART = 1e-3
"""Logits further apart than this are refused, in units of the largest logit or 1."""


def stored(dataset: str, split: str, count: int) -> Tensor:
    """The first inputs of a split as a file takes them: bytes as shares of 255."""
    data = load_split(dataset, split)
    images, _ = data.batch(torch.arange(min(count, len(data))))
    return images


def warn_of_masks(classifier: SkippingClassifier, dataset: str) -> None:
    """Says on stderr where greedy and sampled masks had different errors on validation inputs."""
    errors = classifier.content.get("validation_error")
    if errors and classifier.policy.learns:
        num_inputs = len(load_split(dataset, "validation"))
        if said := mask_gap(errors["sampled"], errors["mode"], num_inputs, "validation"):
            warn(f"{said}; this file takes draw={classifier.draw!r} unless --draw says otherwise")


def milliseconds(sessions: dict[str, Session], images: Tensor, blocks: int) -> dict[str, float]:
    """Median time of one input in each form, in turns, over several inputs."""
    uniforms = torch.rand(len(images), blocks, generator=stream(0, "export times"))

    def all_of(session: Session) -> Any:
        def run() -> None:
            for image, numbers in zip(images.split(1), uniforms.split(1), strict=True):
                session(image, numbers)

        return run

    times = seconds_in_turns({name: all_of(one) for name, one in sessions.items()}, 9)
    return {n: 1e3 * statistics.median(found) / len(images) for n, found in times.items()}


def report(path: Path, found: Agreement) -> str:
    """What is printed of a file."""
    return (
        f"{path}: {found.images:,} inputs, logits at most {found.logits_apart:.1e} apart, "
        f"{found.same_answers:.2%} the same answers, {found.same_masks:.2%} the same masks, "
        f"{found.kept:.1%} of the blocks kept"
    )


def written(
    classifier: SkippingClassifier, path: Path, options: argparse.Namespace, images: Tensor,
    *, skips: bool,
) -> tuple[Session, int]:  # fmt: skip
    """Writes a form, compares and reports it: its session and number of blocks.

    Raises:
        ValueError: if the file answers otherwise than the classifier.
    """
    form = write_onnx(classifier, path, options.draw, skips=skips)
    session = Session(path)
    found = compare(classifier, form, session, images)
    print(report(path, found))
    if found.logits_apart > MOST_APART and found.same_masks == 1:
        raise ValueError(
            f"expected logits as the classifier's, got {found.logits_apart:.1e} apart in {path}"
        )
    return session, sum(form.num_blocks)


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
        help="of --onnx: classifier.onnx beside the safetensors file by default; "
        "of --share: the folder shared in the run's",
    )
    onnx = parser.add_argument_group("of --onnx")
    onnx.add_argument("--skip", action="store_true", help="also a form of one input that skips")
    onnx.add_argument("--draw", choices=("mode", "sampled"), help="as the run does by default")
    onnx.add_argument("--dataset", help="the run's own by default")
    onnx.add_argument("--split", help=f"{SPLIT} by default")
    onnx.add_argument("--images", type=int, help=f"inputs compared at most; {IMAGES:,} by default")
    takes_trust(parser, "the file names")
    share = parser.add_argument_group("of --share")
    share.add_argument("--push", metavar="OWNER/NAME", help="upload it to the Hugging Face Hub")
    return parser


def read(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; an option of the form that is not written is refused."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    form, other = ("share", "onnx") if options.share else ("onnx", "share")
    for name in OPTIONS[other]:
        if getattr(options, name):
            parser.error(f"expected --{name} with --{other}, got it with --{form}")
    return options


def export_onnx(options: argparse.Namespace) -> None:
    """Writes a classifier as ONNX, in one form or two, and reports how each compares.

    Raises:
        ValueError: if ONNX is not installed, or the classifier cannot be written or differs.
    """
    check_installed()
    torch.set_num_threads(1)
    path = exported_file(options.place)
    out = options.out or path.with_suffix(".onnx")
    classifier = SkippingClassifier.load(path, trust=options.trust)
    dataset = options.dataset or dataset_of(path, options.trust)
    count = IMAGES if options.images is None else options.images
    images = stored(dataset, options.split or SPLIT, count)
    warn_of_masks(classifier, dataset)
    masked, blocks = written(classifier, out, options, images, skips=False)
    if options.skip:
        beside = out.with_suffix(".skip.onnx")
        skip, _ = written(classifier, beside, options, images, skips=True)
        times = milliseconds({"masked": masked, "skip": skip}, images[:32], blocks)
        print(", ".join(f"{name} {found:.3f} ms" for name, found in times.items()) + " an input")


@program("ccenv export")
def main(arguments: Sequence[str] | None = None) -> int:
    """Writes an exported run as ONNX, or gathers it to be shared; see --help."""
    options = read(arguments)
    if options.share:
        share_run(options.place, options.out, options.push)
    else:
        export_onnx(options)
    return 0
