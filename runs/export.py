"""An exported run for other runtimes: ccenv export FOLDER_OR_FILE --onnx -> a file, checked."""

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.base.clock import seconds_in_turns
from ccenv.base.seeding import stream
from ccenv.data import load_split
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.masked_form import MaskedForm
from ccenv.deploy.onnx_file import check_installed, write_onnx
from ccenv.runs.programs import program
from ccenv.runs.store.exported import dataset_of, exported_file

BATCH = 256
MOST_APART = 1e-3
"""Logits further apart than this are refused, in units of the largest logit or 1."""


@dataclass(frozen=True)
class Agreement:
    """A file beside the classifier that it was written from, on the same inputs and draws."""

    images: int
    """inputs that were compared."""
    logits_apart: float
    """largest difference of a logit."""
    same_answers: float
    """share of inputs with the same answer."""
    same_masks: float
    """share of inputs with the same blocks executed."""
    kept: float
    """share of the blocks that were executed."""


class Session:
    """An ONNX file in onnxruntime, on one thread of the CPU."""

    def __init__(self, path: Path) -> None:
        """Loads the file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.inner = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.names = [one.name for one in self.inner.get_inputs()]
        self.takes_one = self.inner.get_inputs()[0].shape[0] == 1

    def __call__(self, images: Tensor, uniforms: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits and masks of one call."""
        given = dict(zip(("images", "uniforms"), (images, uniforms), strict=True))
        asked = {name: value.numpy() for name, value in given.items() if value is not None}
        found = self.inner.run(None, {name: asked[name] for name in self.names})
        return torch.from_numpy(found[0]), torch.from_numpy(found[1])


def executed(classifier: SkippingClassifier, masks: Sequence[Tensor]) -> Tensor:
    """Masks as executed, nothing behind an exit that was taken: bool [batch, all blocks]."""
    goes, found = torch.ones(len(masks[0]), 1, dtype=torch.bool), []
    for gate, mask in zip(classifier.network.gates, masks, strict=True):
        found.append(mask & goes)
        goes = found[-1] if gate.skipped == "stop" else goes
    return torch.cat(found, dim=1)


def compare(
    classifier: SkippingClassifier, form: MaskedForm, session: Session, images: Tensor
) -> Agreement:
    """Runs both on the same inputs, of drawn masks on the same draws."""
    apart, answers, same, kept = [], [], [], []
    drawn = form.policy.draws
    for number, part in enumerate(images.split(BATCH)):
        numbers = stream(number, "export check")
        logits, masks = classifier.classify(
            part, numbers if drawn else None, draw="sampled" if drawn else "mode"
        )
        numbers = stream(number, "export check")
        parts = [torch.rand(len(part), blocks, generator=numbers) for blocks in form.num_blocks]
        uniforms = torch.cat(parts, dim=1)
        size = 1 if session.takes_one else len(part)
        pieces = zip(part.split(size), uniforms.split(size), strict=True)
        found = [session(*piece) for piece in pieces]
        theirs, executes = (torch.cat(rows) for rows in zip(*found, strict=True))
        apart.append(float((logits - theirs).abs().max()))
        answers.append(logits.argmax(dim=1) == theirs.argmax(dim=1))
        same.append((executed(classifier, masks) == executes).all(dim=1))
        kept.append(executes)
    return Agreement(
        images=len(images),
        logits_apart=max(apart),
        same_answers=float(torch.cat(answers).float().mean()),
        same_masks=float(torch.cat(same).float().mean()),
        kept=float(torch.cat(kept).float().mean()),
    )


def stored(dataset: str, split: str, count: int) -> Tensor:
    """The first inputs of a split as a file takes them: bytes as shares of 255."""
    data = load_split(dataset, split)
    images, _ = data.batch(torch.arange(min(count, len(data))))
    return images


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
    parser = argparse.ArgumentParser(prog="ccenv export", description=main.__doc__)
    parser.add_argument("place", type=Path, help="a run's folder (--export), or the file it left")
    parser.add_argument("--onnx", action="store_true", required=True, help="what is written")
    parser.add_argument("--skip", action="store_true", help="also a form of one input that skips")
    parser.add_argument("--out", type=Path, help="classifier.onnx beside the safetensors file")
    parser.add_argument("--draw", choices=("mode", "sampled"), help="as the run does by default")
    parser.add_argument("--dataset", help="the run's own by default")
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=10_000, help="at most so many are compared")
    options = parser.parse_args(arguments)
    check_installed()
    torch.set_num_threads(1)
    path = exported_file(options.place)
    out = options.out or path.with_suffix(".onnx")
    classifier = SkippingClassifier.load(path)
    images = stored(options.dataset or dataset_of(path), options.split, options.images)
    masked, blocks = written(classifier, out, options, images, skips=False)
    if options.skip:
        beside = out.with_suffix(".skip.onnx")
        skip, _ = written(classifier, beside, options, images, skips=True)
        times = milliseconds({"masked": masked, "skip": skip}, images[:32], blocks)
        print(", ".join(f"{name} {found:.3f} ms" for name, found in times.items()) + " an input")
    return 0


if __name__ == "__main__":
    sys.exit(main())
