"""Writes an exported run as ONNX: (its file, a split) -> forms that are compared with it."""

from argparse import Namespace
from pathlib import Path

import torch
from torch import Tensor

from ccenv.annexes.deploy.export import SkippingClassifier
from ccenv.annexes.deploy.masked_form import form_of
from ccenv.annexes.deploy.onnx_file import Session, agreement, check_installed, write_onnx
from ccenv.base.mask_words import BOTH, deterministic_of, in_files, kind_in_words
from ccenv.data import load_split
from ccenv.runs.engine.errors import warn
from ccenv.runs.stats.measures import mask_gap
from ccenv.runs.store.untrusted_files import dataset_of_run, exported_file

MOST_APART = 1e-3
"""Logits further apart than this are refused, in units of the largest logit or 1."""


def warn_of_gap(classifier: SkippingClassifier, dataset: str) -> None:
    """Says on stderr where greedy and sampled masks had different errors on validation inputs."""
    errors = classifier.content.get("validation_error")
    if errors and classifier.policy.learns:
        num_inputs = len(load_split(dataset, "validation"))
        sampled, greedy = (errors[in_files(kind)] for kind in BOTH)
        if gap := mask_gap(sampled, greedy, num_inputs, "validation"):
            kind = kind_in_words(classifier.deterministic)
            warn(f"{gap}; this file takes {kind} masks unless --masks says otherwise")


def written(
    classifier: SkippingClassifier,
    path: Path,
    deterministic: bool | None,
    images: Tensor,
    *,
    skips: bool,
) -> None:
    """Writes a form, compares and reports it."""
    form = write_onnx(classifier, path, deterministic=deterministic, skips=skips)
    agreed = agreement(classifier, form, Session(path), images)
    print(
        f"{path}: {agreed.images:,} inputs, logits at most {agreed.logits_apart:.1e} apart, "
        f"{agreed.same_answers:.2%} the same answers, {agreed.same_masks:.2%} the same masks, "
        f"{agreed.kept:.1%} of the blocks kept"
    )
    if agreed.logits_apart > MOST_APART and agreed.same_masks == 1:
        raise ValueError(
            f"expected logits as the classifier's, got {agreed.logits_apart:.1e} apart in {path}"
        )


def export_onnx(options: Namespace) -> None:
    """Writes a classifier as ONNX, in one form or two, and reports how each compares.

    Args:
        options: of `ccenv export`.
    """
    check_installed()
    torch.set_num_threads(1)
    path = exported_file(options.place)
    out = options.out or path.with_suffix(".onnx")
    classifier = SkippingClassifier.load(path, trust=options.trust)
    dataset = options.dataset or dataset_of_run(path, options.trust)
    data = load_split(dataset, options.split)
    # As a file takes them: bytes as shares of 255.
    images, _ = data.batch(torch.arange(min(options.images, len(data))))
    warn_of_gap(classifier, dataset)
    deterministic = deterministic_of(options.masks) if options.masks else None
    if options.skip:
        # Refused before the other form is written.
        form_of(classifier, deterministic=deterministic, skips=True)
    written(classifier, out, deterministic, images, skips=False)
    if options.skip:
        written(classifier, out.with_suffix(".skip.onnx"), deterministic, images, skips=True)
