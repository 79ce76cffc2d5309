"""A real browser without a window: what a page says of itself."""

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


def browse(address, *arguments):
    """Runs a browser; its console goes to stderr."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    done = subprocess.run(
        [*command, *arguments, address], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done


def said_by(text, folder, script="", *arguments):
    """What a page with a script says in `data-said` of its body, and the browser's console."""
    # The last one: a page's own scripts have the word too.
    start, end, rest = text.rpartition("</body>")
    (folder / "page.html").write_text(start + script + end + rest)
    options = ("--virtual-time-budget=5000", "--dump-dom", *arguments)
    profile = f"--user-data-dir={folder}/profile"
    done = browse((folder / "page.html").as_uri(), profile, *options)
    match = re.search(r'data-said="([^"]*)"', done.stdout)
    assert match, done.stderr
    return json.loads(html.unescape(match[1])), done.stderr
