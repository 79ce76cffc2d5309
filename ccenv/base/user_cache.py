"""Where what can be made again is kept: environment variables -> a folder of this user."""

import os
from pathlib import Path


def user_cache() -> Path:
    """Folder for what can be made again: `CCENV_CACHE`, else `ccenv` in the user's cache folder.

    Raises:
        FileNotFoundError: if that is in a home folder, and the user has none.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = Path(os.environ.get("CCENV_CACHE") or Path(base) / "ccenv")
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(
            f"expected a home folder for {path}, got none of this user; give a folder that can be "
            "written in as CCENV_CACHE"
        ) from error
