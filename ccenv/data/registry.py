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
        "probe": "ccenv.tasks.probe:probe",
        "documents": "ccenv.tasks.loading:documents",
        "staleness": "ccenv.tasks.refreshing:staleness",
        "parity": "ccenv.data.toy:parity",
        "python_text": "ccenv.data.texts.windows:python_text",
        "python_sample": "ccenv.data.texts.windows:python_sample",
        "python_bundled": "ccenv.data.texts.windows:python_bundled",
        "adding": "ccenv.data.texts.tasks:adding",
        "copying": "ccenv.data.texts.tasks:copying",
    }
)
"""Name -> function, imported on use."""
TEXTS = "ccenv.data.texts.windows:text_split"
"""What reads files and folders of text of the user's, imported on use."""
