"""Laws of policy files: what is written is read, what is no policy is refused."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from ccenv.base.checked_file import DamagedFileError
from ccenv.mask_table import read_policy, write_policy
from ccenv.mask_table.evaluation.entry import of_rows

FORMS = {"numbers": np.arange(4), "masks": np.eye(4), "keep": np.full((4, 2), 0.5)}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_is_read(name, tmp_path):
    write_policy(tmp_path / "p", **{name: FORMS[name]})
    (found,) = read_policy(tmp_path / "p").values()
    assert np.array_equal(found, FORMS[name])


def test_a_file_without_a_checksum_is_a_policy_too(tmp_path):
    save_file({"keep": FORMS["keep"]}, tmp_path / "p")
    assert np.array_equal(read_policy(tmp_path / "p")["keep"], FORMS["keep"])


@pytest.mark.parametrize("content", [FORMS, {}, {"logits": np.zeros(3)}])
def test_all_but_one_known_form_is_refused(content, tmp_path):
    save_file(content, tmp_path / "p")
    with pytest.raises(ValueError, match="one of numbers, masks, keep"):
        read_policy(tmp_path / "p")
    with pytest.raises(ValueError, match="one of numbers, masks, keep"):
        write_policy(tmp_path / "p", **content)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "p").write_bytes(b"import os")
    with pytest.raises(DamagedFileError):
        read_policy(tmp_path / "p")


def test_rows_of_a_policy_are_those_of_its_inputs():
    rows = slice(1, None, 2)
    assert of_rows({"numbers": FORMS["numbers"]}, 4, rows)["numbers"].tolist() == [1, 3]
    assert len(of_rows({"keep": FORMS["keep"]}, 4, rows)["keep"]) == 2
    # One row for all, though it has as many numbers as there are inputs.
    assert len(of_rows({"masks": np.full(4, 0.25)}, 4, rows)["masks"]) == 4
