"""Folders of images: (<root>/<name>, the name of a split) -> images that are read when drawn.

    flowers/train/rose/1.jpg, flowers/train/tulip/2.png, flowers/test/rose/3.jpg ...   or
    flowers/rose/1.jpg, flowers/tulip/2.png ...

The innermost folders are the classes, in alphabetical order. Without a folder `validation` a tenth
of the training images validates; without `train` and `test` eight tenths of all train, one
validates and one tests, drawn the same way every time. Images are RGB bytes and must be of one
size: `flowers@64` makes them 64 x 64 pixels, by their shorter side and then their middle.
"""

import functools
from pathlib import Path
from typing import Any

import torch

from ccenv.base.seeding import stream
from ccenv.data.registry import SPLITS
from ccenv.data.split import Split
from ccenv.data.user_data import given_split


def has_folders(path: Path) -> bool:
    """Whether images may lie below: folders of splits with folders in them, or of classes."""
    return path.is_dir() and any(inner.is_dir() for inner in path.iterdir())


def folder_split(path: Path, name: str, split: str) -> Split:
    """One split of a folder; ValueError if its images do not lie in folders of the same classes."""
    return given_split(splits_of(path, name), split, name)


@functools.lru_cache(maxsize=8)
def splits_of(path: Path, name: str) -> dict[str, Any]:
    """Data sets of torchvision by their split."""
    from torch.utils.data import Subset

    found = {split: path / split for split in SPLITS if (path / split).is_dir()}
    if found:
        if missing := sorted({"train", "test"} - set(found)):
            raise ValueError(
                f"dataset {name!r}: expected folders train and test in {path}, got none named "
                f"{', '.join(missing)}"
            )
        splits = {split: images_in(folder, name) for split, folder in found.items()}
        for split, images in splits.items():
            if images.classes != splits["train"].classes:
                raise ValueError(
                    f"dataset {name!r}: expected the classes {splits['train'].classes} of train "
                    f"in {split}, got {images.classes}"
                )
        return splits
    images = images_in(path, name)
    order = torch.randperm(len(images), generator=stream(0, "folder of images"))
    tenth = max(1, len(order) // 10)
    parts = order.split([tenth, tenth, len(order) - 2 * tenth]) if len(order) > 2 else (order,) * 3
    named = zip(("validation", "test", "train"), parts, strict=True)
    return {split: Subset(images, part.sort().values.tolist()) for split, part in named}


def images_in(folder: Path, name: str) -> Any:
    """The images in folders of classes, as torchvision finds them; ValueError if there are none."""
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(folder, transform=resizer(name))
    except (FileNotFoundError, OSError) as error:
        raise ValueError(
            f"dataset {name!r}: expected images in folders of classes in {folder} ({error})"
        ) from error


def resizer(name: str) -> Any:
    """Makes images of the size in a data set's name, None without one; ValueError if it is odd."""
    _, has_side, side = name.partition("@")
    if not has_side:
        return None
    if not side.isdecimal() or not int(side):
        raise ValueError(f"expected a folder of images as name or name@pixels, got {name!r}")
    from torchvision.transforms import CenterCrop, Compose, Resize

    return Compose([Resize(int(side)), CenterCrop(int(side))])
