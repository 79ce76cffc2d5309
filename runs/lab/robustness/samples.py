"""Sound and odd files that fuzzed command lines name: a folder -> a run, a table, settings."""

import shutil
from pathlib import Path

from ccenv.runs.lab.robustness.kinds import kinds
from ccenv.runs.store import folder as run_folder

ODD_FILES = {
    "odd.json": '{"agent": "reinforce", "environment": {"dataset": 3}, "seed": [1]}',
    "odd.toml": "agent = 'reinforce'\nimages = 'many'\n[environment]\nnum_blocks = [[1]]\n",
    "deep.json": "[" * 100_000,
    "not-utf.toml": "agent = '\udcff'",
}


def samples(folder: Path) -> None:
    """Makes `run`, `table.safetensors`, `policy.safetensors`, `images.npz` and `ODD_FILES`."""
    made = kinds(folder)
    run = made["result of a run"].path.parent
    shutil.copytree(run, folder / "run")
    assert (folder / "run" / run_folder.RESULT).exists()
    for name, text in ODD_FILES.items():
        (folder / name).write_bytes(text.encode(errors="surrogateescape"))
