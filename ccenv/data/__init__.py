"""Data sets: name and split -> images and labels; nothing is downloaded unless asked.

A root folder (`CCENV_DATA`, else the user's cache) holds what torchvision reads and downloads, and
data sets of yours: files `<name>.npz` (`ccenv.data.npz`), folders of images
(`ccenv.data.user_data`), files and folders of text (`ccenv.annexes.data.windows`). A path that ends
in `.npz` names a file elsewhere (`./x.npz` is seen from the working folder). A data set can be an
object too, in Python: a mapping or a function of splits (`ccenv.data.user_data`). What is larger
than memory is read when it is drawn (`ccenv.data.rows`).

| name | train | validation | test |
|---|---|---|---|
| digits | 1,097 | 200 | 500 (8 x 8 digits of scikit-learn in a fixed shuffled order) |
| mnist | first 50,000 | last 10,000 | 10,000 |
| cifar10 | first 40,000 | last 10,000 | 10,000 |
| svhn | all but the last tenth of `train` | last tenth | `test` |
| svhn with torchvision's `extra` | first 580,000 of train + extra, shuffled | 24,388 | 26,032 |
| mixed | equal shares of the same part of mnist, cifar10 and svhn; 30 classes | | |
| synthetic | 2,000 | 500 | 500 |
| probe | 1,024 | 256 | 256 |
| parity | 8,000 | 1,000 | 2,000 |
| python_text | 26,520,813 | 1,767,359 | 1,498,652 (24 symbols; label: the next) |
| python_sample | as python_text | every 32nd window | every 32nd window |
| python_text where its folder is missing | about nine tenths of Python's library | 5 % | 5 % |
| python_bundled | 6,957,917 | every 8th of 458,244 windows | every 8th of 408,370 |
| python_text@128, any text so | positions of sequences of 128 symbols that do not overlap | | |
| other .npz | all but the last tenth of `train` | last tenth | `test` |

What images go through before anybody sees them is named too, see `ccenv.data.transforms`; their
halves and copies are no data sets of their own.

    load_split("cifar10", "train", ["copies=7", "shift=2", "mirror", "standardise"])
"""

from typing import TYPE_CHECKING

from ccenv.base.registry import names_on_use
from ccenv.data.registry import DATASETS, SPLITS

if TYPE_CHECKING:
    from ccenv.data.load import dataset_name, load_split, preprocessing
    from ccenv.data.rows import Rows
    from ccenv.data.split import Split, check_alike, check_split, data_root
    from ccenv.data.transforms import TRANSFORMS, Fitted, transform_names

__all__ = [
    "DATASETS",
    "SPLITS",
    "TRANSFORMS",
    "Fitted",
    "Rows",
    "Split",
    "check_alike",
    "check_split",
    "data_root",
    "dataset_name",
    "load_split",
    "preprocessing",
    "transform_names",
]

__getattr__ = names_on_use(
    __name__,
    {
        "load": ["dataset_name", "load_split", "preprocessing"],
        "rows": ["Rows"],
        "split": ["Split", "check_alike", "check_split", "data_root"],
        "transforms": ["TRANSFORMS", "Fitted", "transform_names"],
    },
)
