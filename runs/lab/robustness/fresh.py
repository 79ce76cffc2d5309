"""Commands in interpreters of their own, under odd circumstances: words -> status and sentences."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccenv.runs.lab.robustness.tiny import SETTINGS, words

PACKAGES = Path(__file__).absolute().parents[3]
"""Where `ccenv` lies in a checkout; commands run elsewhere."""
PATIENCE = 1200.0
"""Seconds until a command that does not end is given up."""
SHORT = [*words(SETTINGS | {"images": 640, "eval_every": 320}), "log_dir=logs", "progress=false"]
TRAIN = ["train", "reinforce", *SHORT]
"""A run of a second."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    """its exit status."""
    out: str
    """on stdout."""
    said: str
    """on stderr."""

    @property
    def told(self) -> str:
        """Its last line on stderr, or what stands for a traceback."""
        lines = [line for line in self.said.splitlines() if line.strip()]
        last = lines[-1] if lines else "nothing"
        return f"a traceback: {last}" if "Traceback" in self.said else last


def ccenv(
    given: Sequence[str],
    place: Path,
    environment: Mapping[str, str | None] | None = None,
    python: Sequence[str] = (),
    user: int | None = None,
) -> Ended:
    """Runs `ccenv WORDS` in a folder and waits.

    Args:
        given: the words.
        place: its working folder.
        environment: variables that differ from this process's; None takes one away.
        python: options of the interpreter.
        user: number of the user that it runs as; this one's by default.
    """
    path = os.pathsep.join([str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    done = subprocess.run(
        [sys.executable, *python, "-m", "ccenv", *given],
        cwd=place,
        env={name: value for name, value in variables.items() if value is not None},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(errors="replace"),
                 done.stderr.decode(errors="replace"))  # fmt: skip
