"""Describes a data set, and downloads it first where asked: ccenv data NAME."""

import argparse
from collections.abc import Sequence

from ccenv.data import DATASETS, SPLITS, load_split
from ccenv.data.real import download


def main(given: Sequence[str] | None = None) -> int:
    """Prints the size of each split, or says what is wrong and exits with 1."""
    parser = argparse.ArgumentParser(prog="ccenv data", description=__doc__)
    parser.add_argument("name", help=f"one of {', '.join(DATASETS)}, or the name of an .npz file")
    parser.add_argument(
        "--download", action="store_true", help="fetch it through torchvision (svhn: 2 GB)"
    )
    arguments = parser.parse_args(given)
    try:
        if arguments.download:
            download(arguments.name)
        splits = {name: load_split(arguments.name, name) for name in SPLITS}
    except (ValueError, OSError, RuntimeError) as error:
        parser.exit(1, f"{error}\n")
    for name, split in splits.items():
        shape = " x ".join(str(size) for size in split.image_shape)
        print(f"{name:10} {len(split):7,} images of {shape}, {split.num_classes} classes")
    return 0


if __name__ == "__main__":
    main()
