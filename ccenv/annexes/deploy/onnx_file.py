"""ONNX: (exported classifier, way of choosing) -> a file for onnxruntime and other runtimes.

Two forms. `masked`: any number of inputs, everything computed and masked, exact. `skip`: one input,
each block and what lies behind an exit in an `If`, so that what is skipped is not run.

Inputs are `images`, float32 [batch, ...] as the data set stores them (bytes as shares of 255), of
symbols int64, and, where masks are drawn, `uniforms`, float32 [batch, blocks of all gates] in
[0, 1): who calls it draws. Outputs are `logits` and `masks`, bool [batch, blocks of all gates],
what was executed.
"""

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.deploy.masked_form import MaskedForm, form_of
from ccenv.base.files import replaced_when_whole
from ccenv.base.mask_words import takes_draw
from ccenv.base.seeding import stream
from ccenv.networks.core.protocol import Gate

NEEDED = ("onnx", "onnxscript", "onnxruntime")
ROWS = 3
"""Rows of the example; only that it is more than one matters."""


def check_installed() -> None:
    """Refuses to go on without the libraries."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f'expected {", ".join(missing)}; run pip install "ccenv[onnx]"')


@takes_draw
def write_onnx(
    classifier: Any, path: Path, *, deterministic: bool | None = None, skips: bool = False
) -> MaskedForm:
    """Writes a classifier's graph.

    Args:
        classifier: a `SkippingClassifier`.
        path: of the file.
        deterministic: True for greedy masks, False for sampled ones; None: as the classifier does.
        skips: the form of one input that branches.

    Returns:
        The form in torch, as it was written.

    Raises:
        ValueError: if a library is missing, or there is no such form.
    """
    check_installed()
    form = form_of(classifier, deterministic=deterministic, skips=skips)
    # In a branch nobody wants gradients.
    form.network.requires_grad_(not skips)
    program = as_program(form)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_whole(path) as partial:
        program.save(partial)
    return form


def as_program(form: MaskedForm) -> Any:
    """A form as torch's exporter writes it.

    With gradients wanted, zeros are put by `where`, which every runtime knows, not by bits.

    Raises:
        ValueError: if it holds what no graph does.
    """
    rows = ROWS if form.open_batch else 1
    assert form.prepare is not None
    dtype = torch.int64 if form.prepare.are_symbols else torch.float32
    example = {"images": torch.zeros(rows, *form.prepare.shape, dtype=dtype)}
    if form.draws:
        example["uniforms"] = torch.full((rows, sum(form.num_blocks)), 0.5)
    batch = {0: torch.export.Dim("batch")}
    shapes = dict.fromkeys(example, batch) if form.open_batch else None
    with warnings.catch_warnings(), torch.set_grad_enabled(not form.skips):
        warnings.simplefilter("ignore")
        try:
            # Of a form that it cannot write torch prints the graph, hundreds of lines.
            with contextlib.redirect_stderr(io.StringIO()):
                graph = torch.export.export(
                    form, tuple(example.values()), dynamic_shapes=shapes, strict=False
                )
            program = torch.onnx.export(
                graph,
                dynamo=True,
                input_names=list(example),
                output_names=["logits", "masks"],
                verbose=False,
            )
        except Exception as error:
            # Torch has an exception of its own for each thing that a graph cannot hold.
            told = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(
                f"cannot write {type(form.network).__name__} as a graph: expected operations on "
                f"tensors alone, got {told}; take the safetensors file"
            ) from error
    assert program is not None
    return program


BATCH = 256


@dataclass(frozen=True)
class Agreement:
    """A file compared with the classifier it was written from, on the same inputs and draws."""

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
        arrays = dict(zip(("images", "uniforms"), (images, uniforms), strict=True))
        asked = {name: value.numpy() for name, value in arrays.items() if value is not None}
        outputs = self.inner.run(None, {name: asked[name] for name in self.names})
        return torch.from_numpy(outputs[0]), torch.from_numpy(outputs[1])


def executed(gates: Sequence[Gate], masks: Sequence[Tensor]) -> Tensor:
    """Masks as executed, nothing behind an exit that was taken: bool [batch, all blocks]."""
    goes, masks_executed = torch.ones(len(masks[0]), 1, dtype=torch.bool), []
    for gate, mask in zip(gates, masks, strict=True):
        masks_executed.append(mask & goes)
        goes = masks_executed[-1] if gate.skipped == "stop" else goes
    return torch.cat(masks_executed, dim=1)


def agreement(
    classifier: SkippingClassifier, form: MaskedForm, session: Session, images: Tensor
) -> Agreement:
    """Runs both on the same inputs, of drawn masks on the same draws."""
    apart, answers, same, kept = [], [], [], []
    drawn = form.draws
    for number, part in enumerate(images.split(BATCH)):
        numbers = stream(number, "export check")
        logits, masks = classifier.classify(
            part, numbers if drawn else None, deterministic=not drawn
        )
        numbers = stream(number, "export check")
        parts = [torch.rand(len(part), blocks, generator=numbers) for blocks in form.num_blocks]
        uniforms = torch.cat(parts, dim=1)
        size = 1 if session.takes_one else len(part)
        pieces = zip(part.split(size), uniforms.split(size), strict=True)
        pairs = [session(*piece) for piece in pieces]
        theirs, executes = (torch.cat(rows) for rows in zip(*pairs, strict=True))
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
