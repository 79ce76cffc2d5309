"""What tests of environments share."""

import warnings

import pytest


@pytest.fixture
def no_warnings():
    """Warnings are errors, but for those of other people's old names, and of every wrapper."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        yield
