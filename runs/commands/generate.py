"""A paragraph by a trained run: ccenv generate FOLDER_OR_FILE -> text."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ccenv.base.seeding import stream
from ccenv.runs.commands.frame import program, takes_trust
from ccenv.runs.store.untrusted_files import dataset_of, exported_file

if TYPE_CHECKING:
    from ccenv.deploy.export import SkippingClassifier


def paragraph(
    classifier: "SkippingClassifier",
    dataset: str,
    start: str,
    length: int,
    seed: int,
    temperature: float,
) -> tuple[str, float]:
    """What is written behind a start, and the share of blocks that were computed."""
    from ccenv.data.text import coding
    from ccenv.deploy.generate import write

    symbols, back = coding(dataset)
    given = symbols[np.frombuffer(start.encode(), np.uint8)].tolist()
    padded = [int(symbols[ord("\n")])] * (classifier.image_shape[0] - len(given)) + given
    found = write(classifier, padded, length, stream(seed, "writing"), temperature)
    return bytes(back[found.symbols]).decode(errors="replace"), found.density


@program("ccenv generate")
def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a paragraph by an exported predictor of text; see --help."""
    parser = argparse.ArgumentParser(
        prog="ccenv generate", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("place", type=Path, help="a run's folder (--export), or the file it left")
    parser.add_argument("--dataset", help="the text it learned; the run's own by default")
    parser.add_argument("--start", default="import ", help="what is written on")
    parser.add_argument("--length", type=int, default=400, metavar="BYTES")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=0.7, help="0: the most probable bytes")
    takes_trust(parser, "the file names")
    options = parser.parse_args(arguments)
    from ccenv.deploy.export import SkippingClassifier

    path = exported_file(options.place)
    text, density = paragraph(
        SkippingClassifier.load(path, trust=options.trust),
        options.dataset or dataset_of(path, options.trust),
        options.start,
        options.length,
        options.seed,
        options.temperature,
    )
    print(f"{options.start}{text}\n\n({density:.1%} of the blocks were computed)")
    return 0
