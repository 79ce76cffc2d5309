"""An ONNX file beside its classifier: (file, inputs) -> how far apart answers and masks are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ccenv.base.seeding import stream
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.masked_form import MaskedForm
from ccenv.networks.core.protocol import Gate

BATCH = 256


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


def executed(gates: Sequence[Gate], masks: Sequence[Tensor]) -> Tensor:
    """Masks as executed, nothing behind an exit that was taken: bool [batch, all blocks]."""
    goes, found = torch.ones(len(masks[0]), 1, dtype=torch.bool), []
    for gate, mask in zip(gates, masks, strict=True):
        found.append(mask & goes)
        goes = found[-1] if gate.skipped == "stop" else goes
    return torch.cat(found, dim=1)


def compare(
    classifier: SkippingClassifier, form: MaskedForm, session: Session, images: Tensor
) -> Agreement:
    """Runs both on the same inputs, of drawn masks on the same draws."""
    apart, answers, same, kept = [], [], [], []
    drawn = form.draws
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
        same.append((executed(classifier.network.gates, masks) == executes).all(dim=1))
        kept.append(executes)
    return Agreement(
        images=len(images),
        logits_apart=max(apart),
        same_answers=float(torch.cat(answers).float().mean()),
        same_masks=float(torch.cat(same).float().mean()),
        kept=float(torch.cat(kept).float().mean()),
    )
