"""The code behind a result: the checkout that this package lies in -> its git commit."""

import functools
import subprocess
from pathlib import Path

CHANGED = "+changes"
"""Said behind a commit where tracked files differ from it."""
MOST_SECONDS = 5.0
"""Git is not waited for longer: a result without its commit is a result."""


@functools.cache
def code_commit() -> str | None:
    """Commit of this package's checkout, with `+changes` where tracked files differ from it.

    Returns:
        40 hexadecimal digits and perhaps `CHANGED`; None where the package lies in no checkout of
        its own (installed from a wheel, perhaps below somebody else's), or git is not there.
    """
    here = Path(__file__).resolve()
    try:
        # Only of a checkout that holds this file: others lie around an environment's folder.
        git(here.parent, "ls-files", "--error-unmatch", here.name)
        commit = git(here.parent, "rev-parse", "HEAD")
        changed = git(here.parent, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + (CHANGED if changed else "")


def git(folder: Path, *words: str) -> str:
    """What git answers; it writes nothing into the checkout.

    Raises:
        OSError, SubprocessError: if it cannot.
    """
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=MOST_SECONDS)
    return done.stdout.strip()
