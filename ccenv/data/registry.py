"""Data sets and splits by name; nothing here needs torch."""

from ccenv.base.registry import NameTable

SPLITS = ("train", "validation", "test")

DATASETS = NameTable(
    {
        "digits": "ccenv.data.toy:digits",
        "mnist": "ccenv.data.real:mnist",
        "cifar10": "ccenv.data.real:cifar10",
        "svhn": "ccenv.data.real:svhn",
        "mixed": "ccenv.data.real:mixed",
        "synthetic": "ccenv.data.toy:synthetic",
        "probe": "ccenv.annexes.tasks.probe:probe",
        "documents": "ccenv.annexes.tasks.loading:documents",
        "staleness": "ccenv.annexes.tasks.refreshing:staleness",
        "parity": "ccenv.data.toy:parity",
        "python_text": "ccenv.annexes.data.windows:python_text",
        "python_sample": "ccenv.annexes.data.windows:python_sample",
        "python_bundled": "ccenv.annexes.data.windows:python_bundled",
        "adding": "ccenv.annexes.data.tasks:adding",
        "copying": "ccenv.annexes.data.tasks:copying",
    }
)
"""Name -> function, imported on use."""
READERS = NameTable({"text": "ccenv.annexes.data.windows:text_split"})
"""Kind of the user's files and folders -> what reads them, imported on use."""
