"""Describes a data set, and downloads it first where asked: ccenv data NAME."""

from collections.abc import Sequence

from ccenv.base.registry import check_names
from ccenv.data.registry import DATASETS, SPLITS
from ccenv.runs.commands.frame import Parser, program


def download(name: str) -> None:
    """Fetches a data set into the root folder."""
    from ccenv.data.real import PARTS, download_images

    check_names([name], PARTS, "dataset to download")
    download_images(name)


@program("ccenv data", (ValueError, TypeError, RuntimeError))
def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the size of each split; see --help."""
    parser = Parser(prog="ccenv data", description=__doc__)
    parser.add_argument(
        "name", help=f"one of {', '.join(DATASETS)}, or an .npz file's name or its path"
    )
    parser.add_argument("--download", action="store_true", help="fetch it first (svhn: 2 GB)")
    options = parser.parse_args(arguments)
    from ccenv.data import load_split

    if options.download:
        download(options.name)
    for name, split in {name: load_split(options.name, name) for name in SPLITS}.items():
        shape = " x ".join(str(size) for size in split.image_shape)
        print(f"{name:10} {len(split):7,} inputs of {shape}, {split.num_classes} classes")
    return 0
