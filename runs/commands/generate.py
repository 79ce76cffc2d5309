"""A paragraph by a trained run: ccenv generate FOLDER_OR_FILE -> text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ccenv.base.seeding import stream
from ccenv.runs.commands.frame import Parser, program, takes_trust
from ccenv.runs.store.untrusted_files import dataset_of_run, exported_file

if TYPE_CHECKING:
    from ccenv.annexes.deploy.export import SkippingClassifier
    from ccenv.annexes.deploy.generate import GeneratedText


def paragraph(
    classifier: "SkippingClassifier",
    dataset: str,
    start: str,
    length: int,
    seed: int,
    temperature: float,
) -> tuple[str, "GeneratedText"]:
    """What is written behind a start, as text and as symbols, with what it took."""
    from ccenv.annexes.data.windows import coding
    from ccenv.annexes.deploy.generate import least_start, write

    symbols, back = coding(dataset)
    start_symbols = symbols[np.frombuffer(start.encode(), np.uint8)].tolist()
    num_missing = least_start(classifier) - len(start_symbols)
    padded = [int(symbols[ord("\n")])] * num_missing + start_symbols
    written = write(classifier, padded, length, stream(seed, "writing"), temperature)
    text = bytes(back[written.symbols]).decode(errors="replace")
    return text, written


@program("ccenv generate")
def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a paragraph by an exported predictor of text; see --help."""
    parser = Parser(prog="ccenv generate", description=main.__doc__)
    parser.add_argument("place", type=Path, help="a run's folder (--export), or the file it left")
    parser.add_argument("--dataset", help="the text it learned; the run's own by default")
    parser.add_argument("--start", default="import ", help="what is written on")
    parser.add_argument("--length", type=int, default=400, metavar="BYTES")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=0.7, help="0: the most probable bytes")
    takes_trust(parser, "the file names")
    options = parser.parse_args(arguments)
    from ccenv.annexes.deploy.export import SkippingClassifier

    path = exported_file(options.place)
    text, written = paragraph(
        SkippingClassifier.load(path, trust=options.trust),
        options.dataset or dataset_of_run(path, options.trust),
        options.start,
        options.length,
        options.seed,
        options.temperature,
    )
    speed = len(written.symbols) / written.seconds
    print(f"{options.start}{text}\n")
    print(f"({written.density:.1%} of the blocks were computed; {speed:,.0f} symbols a second)")
    return 0
