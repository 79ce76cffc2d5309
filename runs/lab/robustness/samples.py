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
    "page.md": "# A page without a table\n",
}


def samples(folder: Path) -> None:
    """Makes runs, tables and the like that `command_lines` names, sound and odd ones."""
    made = kinds(folder)
    run = made["result of a run"].path.parent
    shutil.copytree(run, folder / "run")
    odd = shutil.copytree(run, folder / "odd-run")
    for name in (run_folder.RESULT, run_folder.CONFIG):
        assert (folder / "run" / name).exists()
        (odd / name).write_text("{}", encoding="utf-8")
    for name, text in ODD_FILES.items():
        (folder / name).write_bytes(text.encode(errors="surrogateescape"))
