"""An exported run for ONNX's runtimes: ccenv export FOLDER_OR_FILE --onnx -> a file."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ccenv.base.mask_words import EITHER
from ccenv.runs.commands.frame import Parser, program, takes_trust

SPLIT, IMAGES = "test", 10_000


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="ccenv export",
        description="Writes an exported run as ONNX and compares it with itself on a split.",
    )
    add = parser.add_argument
    add("place", type=Path, help="a run's folder (--export), or the file it left")
    add("--onnx", action="store_true", required=True, help="write a file for ONNX's runtimes")
    add("--out", type=Path, help="classifier.onnx next to the safetensors file by default")
    add("--skip", action="store_true", help="also a form of one input that skips")
    add("--masks", choices=EITHER, help="as the run does by default")
    add("--dataset", help="the run's own by default")
    add("--split", default=SPLIT, help=f"{SPLIT} by default")
    add(
        "--images", type=int, default=IMAGES, help=f"inputs compared at most; {IMAGES:,} by default"
    )
    takes_trust(parser, "the file names")
    return parser


@program("ccenv export")
def main(arguments: Sequence[str] | None = None) -> int:
    """Writes an exported run as ONNX; see --help."""
    options = make_parser().parse_args(arguments)
    from ccenv.runs.engine.onnx_export import export_onnx

    export_onnx(options)
    return 0
