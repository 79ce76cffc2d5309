"""Maps the folders agents/ and runs/ to ccenv.agents and ccenv.runs, with or without links.

In a checkout ccenv/agents and ccenv/runs are symbolic links, which a checkout on Windows and a
source package do not have. All other settings are in pyproject.toml.
"""

import sys

from setuptools import find_packages, setup

FOLDERS = {"ccenv": "ccenv", "ccenv.agents": "agents", "ccenv.runs": "runs"}
"""Import name -> folder."""
NOT_INSTALLED = ("lab", "lab.*", "runs.lab", "runs.lab.*")
"""What measures, attacks, records and documents ccenv, in runs/ and in ccenv/ by its link."""


def packages_of(name: str, folder: str) -> set[str]:
    """Import names of a folder's packages."""
    found = find_packages(folder, exclude=NOT_INSTALLED)
    return {name, *(f"{name}.{package}" for package in found)}


if "editable_wheel" in sys.argv:
    # As a plain path, ccenv is found from any folder, also from one that holds a checkout named
    # ccenv; a mapping makes setuptools install a finder, which such a folder would hide.
    # ccenv/__init__.py finds the other two.
    setup(packages=["ccenv"], package_dir={"": "."})
else:
    packages = set().union(*(packages_of(*pair) for pair in FOLDERS.items()))
    setup(packages=sorted(packages), package_dir={"": ".", **FOLDERS})
