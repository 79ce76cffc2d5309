"""Stored runs that tests spoil: found, opened again, edited as a forger would."""

import json

from ccenv.base.files import SEAL, sealed
from ccenv.base.given_files import read_json
from ccenv.runs.replay.rebuilt import plan_of, rebuild


def one_run(logs, agent="reinforce", seed=1):
    (folder,) = (logs / "BlockSelection-v0" / agent).glob(f"*/*/seed-{seed}")
    return folder


def opened(place):
    return rebuild(plan_of(read_json(place / "config.json")), place)


def edit(path, change):
    """Changes a file as a forger would, who makes its checksum anew."""
    content = json.loads(path.read_text())
    change(content)
    content = sealed(content) if SEAL in content else content
    path.write_text(json.dumps(content, indent=2))


def rewrite(place, change):
    """Edits settings in both files alike, as a forger would."""
    edit(place / "config.json", change)
    edit(place / "result.json", lambda result: change(result["settings"]))
