"""Files of installed packages: found without running code, checked, or refused with a way out."""

import hashlib
import pickle
import sys

import pytest
import torch

from ccenv.annexes.networks.pretrained import efficientnet, packages, smollm
from ccenv.annexes.networks.pretrained.efficientnet import efficientnet_lite0
from ccenv.annexes.networks.pretrained.smollm import smollm2
from ccenv.base.files import DamagedFileError

ABSENT = packages.PackagedFile("ccenv-no-such-package", "nothing/at/all.pth", "0" * 64)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package with one file of this content; importing it is an error."""

    def done(content):
        (tmp_path / "held_here").mkdir()
        (tmp_path / "held_here" / "__init__.py").write_text("raise RuntimeError('imported')")
        (tmp_path / "held_here" / "weights.pth").write_bytes(content)
        (tmp_path / "held_here-1.0.dist-info").mkdir()
        metadata = "Metadata-Version: 2.1\nName: held-here\nVersion: 1.0\n"
        (tmp_path / "held_here-1.0.dist-info" / "METADATA").write_text(metadata)
        monkeypatch.syspath_prepend(tmp_path)
        digest = hashlib.sha256(content).hexdigest()
        return packages.PackagedFile("held-here", "held_here/weights.pth", digest)

    return done


def saved(content, folder):
    torch.save(content, folder / "saved.pth")
    return (folder / "saved.pth").read_bytes()


def test_tensors_are_read_and_the_package_is_not_imported(install, tmp_path):
    file = install(saved({"a": torch.arange(3)}, tmp_path))
    assert packages.packaged_tensors(file)["a"].tolist() == [0, 1, 2]
    assert packages.checked_path(file).name == "weights.pth"
    assert "held_here" not in sys.modules


def test_a_file_with_another_hash_is_refused(install, tmp_path):
    file = install(saved({"a": torch.arange(3)}, tmp_path))
    other = packages.PackagedFile(file.package, file.path, "0" * 64)
    for read in (packages.packaged_tensors, packages.checked_path):
        with pytest.raises(
            DamagedFileError, match=r"expected held_here/weights.pth .* SHA-256 000"
        ):
            read(other)


class Harmful:
    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def test_a_file_that_would_run_code_is_not_followed(install):
    with pytest.raises(pickle.UnpicklingError):
        packages.packaged_tensors(install(pickle.dumps(Harmful(), protocol=2)))


def test_a_package_without_its_file_is_refused(install):
    file = install(b"")
    with pytest.raises(ImportError, match="no such file"):
        packages.checked_path(
            packages.PackagedFile(file.package, "held_here/other.pth", file.sha256)
        )


def test_a_missing_extra_says_what_to_run(monkeypatch):
    command = r'pip install "ccenv\[pretrained\]"'
    monkeypatch.setattr(efficientnet, "FILE", ABSENT)
    monkeypatch.setattr(smollm, "FILE", ABSENT)
    for read in (lambda: packages.packaged_tensors(ABSENT), efficientnet_lite0, smollm2):
        with pytest.raises(ImportError, match=f"ccenv-no-such-package, found none; run: {command}"):
            read()
    with pytest.raises(ImportError, match=f"ccenv_no_such_module, found none; run: {command}"):
        packages.needed("ccenv_no_such_module")


def test_an_unknown_source_of_weights_names_the_nearest():
    assert packages.has_package_weights("package")
    assert not packages.has_package_weights("random")
    with pytest.raises(ValueError, match="did you mean 'package'"):
        packages.has_package_weights("packages")
