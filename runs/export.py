"""An exported run for other runtimes: ccenv export FOLDER_OR_FILE --onnx -> a file, checked."""

import argparse
import statistics
import sys
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
from ccenv.runs.engine.checkpoint import warn
from ccenv.runs.programs import program, takes_trust
from ccenv.runs.stats.mask_gap import mask_gap
from ccenv.runs.store.exported import dataset_of, exported_file

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


@program("ccenv export")
def main(arguments: Sequence[str] | None = None) -> int:
    """Writes an exported run as ONNX and compares it with itself on a split; see --help."""
    parser = argparse.ArgumentParser(
        prog="ccenv export", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("place", type=Path, help="a run's folder (--export), or the file it left")
    parser.add_argument("--onnx", action="store_true", required=True, help="what is written")
    parser.add_argument("--skip", action="store_true", help="also a form of one input that skips")
    parser.add_argument("--out", type=Path, help="classifier.onnx beside the safetensors file")
    parser.add_argument("--draw", choices=("mode", "sampled"), help="as the run does by default")
    parser.add_argument("--dataset", help="the run's own by default")
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=10_000, help="at most so many are compared")
    takes_trust(parser, "the file names")
    options = parser.parse_args(arguments)
    check_installed()
    torch.set_num_threads(1)
    path = exported_file(options.place)
    out = options.out or path.with_suffix(".onnx")
    classifier = SkippingClassifier.load(path, trust=options.trust)
    dataset = options.dataset or dataset_of(path, options.trust)
    images = stored(dataset, options.split, options.images)
    warn_of_masks(classifier, dataset)
    masked, blocks = written(classifier, out, options, images, skips=False)
    if options.skip:
        beside = out.with_suffix(".skip.onnx")
        skip, _ = written(classifier, beside, options, images, skips=True)
        times = milliseconds({"masked": masked, "skip": skip}, images[:32], blocks)
        print(", ".join(f"{name} {found:.3f} ms" for name, found in times.items()) + " an input")
    return 0


if __name__ == "__main__":
    sys.exit(main())
