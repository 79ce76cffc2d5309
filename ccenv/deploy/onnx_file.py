"""ONNX: (exported classifier, way of choosing) -> a file for onnxruntime and other runtimes.

Two forms. `masked`: any number of inputs, everything computed and masked, exact. `skip`: one input,
each block and what lies behind an exit in an `If`, so that what is skipped is not run.

Inputs are `images`, float32 [batch, ...] as the data set stores them (bytes as shares of 255), of
symbols int64, and, where masks are drawn, `uniforms`, float32 [batch, blocks of all gates] in
[0, 1): who calls it draws. Outputs are `logits` and `masks`, bool [batch, blocks of all gates],
what was executed.
"""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch

from ccenv.deploy.masked_form import MaskedForm, form_of

NEEDED = ("onnx", "onnxscript", "onnxruntime")
ROWS = 3
"""Rows of the example; only that it is more than one matters."""


def check_installed() -> None:
    """Refuses to go on without the libraries.

    Raises:
        ValueError: naming what is missing.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f'expected {", ".join(missing)}; run pip install "ccenv[onnx]"')


def write_onnx(
    classifier: Any, path: Path, draw: str | None = None, *, skips: bool = False
) -> MaskedForm:
    """Writes a classifier's graph.

    Args:
        classifier: a `SkippingClassifier`.
        path: of the file.
        draw: "mode" or "sampled"; None: as the classifier does.
        skips: the form of one input that branches.

    Returns:
        The form in torch, as it was written.

    Raises:
        ValueError: if a library is missing, or there is no such form.
    """
    check_installed()
    form = form_of(classifier, draw, skips=skips)
    # In a branch nobody wants gradients.
    form.network.requires_grad_(not skips)
    program = as_program(form)
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(path)
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
    given = {"images": torch.zeros(rows, *form.prepare.shape, dtype=dtype)}
    if form.draws:
        given["uniforms"] = torch.full((rows, sum(form.num_blocks)), 0.5)
    batch = {0: torch.export.Dim("batch")}
    shapes = dict.fromkeys(given, batch) if form.open_batch else None
    with warnings.catch_warnings(), torch.set_grad_enabled(not form.skips):
        warnings.simplefilter("ignore")
        try:
            graph = torch.export.export(
                form, tuple(given.values()), dynamic_shapes=shapes, strict=False
            )
            program = torch.onnx.export(
                graph,
                dynamo=True,
                input_names=list(given),
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
