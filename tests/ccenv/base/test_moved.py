"""Modules by the names that they had before."""

import importlib
import pickle
import subprocess
import sys

import pytest

from ccenv.base.moved import MODULES, OBJECTS, todays_module
from ccenv.base.registry import has_module, import_object, today
from ccenv.base.trust import check_named


@pytest.mark.parametrize("earlier", MODULES)
def test_a_module_by_its_earlier_name_is_the_same_module(earlier):
    module = importlib.import_module(earlier)
    assert module is importlib.import_module(MODULES[earlier])
    assert module.__spec__.name == module.__name__ == MODULES[earlier]


def test_what_lies_below_has_moved_with_it_and_is_one_class():
    program = (
        "from ccenv.deploy.export import SkippingClassifier as one\n"
        "from ccenv.annexes.deploy.export import SkippingClassifier as other\n"
        "from ccenv import mask_table\n"
        "import ccenv.networks.text.transformer as moved\n"
        "assert one is other and moved.__name__ == 'ccenv.annexes.networks.text.transformer'\n"
        "assert mask_table.__name__ == 'ccenv.annexes.mask_table'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_pickle_of_an_earlier_version_is_opened():
    from ccenv.annexes.networks.baselines.skip_gru import SkipGRU

    now = pickle.dumps(SkipGRU, protocol=0).decode()
    before = now.replace("ccenv.annexes.networks.baselines", "ccenv.networks.baselines")
    assert before != now
    assert pickle.loads(before.encode()) is SkipGRU


@pytest.mark.parametrize("earlier", MODULES)
def test_no_module_stands_where_an_earlier_one_stood(earlier):
    assert not has_module(earlier) or earlier in sys.modules
    assert todays_module(f"{earlier}x") == f"{earlier}x"
    assert todays_module(f"{earlier}.below") == f"{MODULES[earlier]}.below"


@pytest.mark.parametrize("stored", ["ccenv.data.texts.tasks:surprise", *OBJECTS])
def test_stored_names_lead_to_what_they_led_to(stored):
    assert callable(import_object(stored, "data set"))
    assert today(today(stored)) == today(stored)


def test_a_file_may_name_an_earlier_module_of_a_table_and_no_other():
    places = {"network": "network"}
    check_named({"network": "ccenv.networks.text.transformer:LanguageModel"}, places)
    with pytest.raises(ValueError, match="not imported"):
        check_named({"network": "ccenv.deploy.export:SkippingClassifier"}, places)


def test_a_module_that_never_was_is_missing_by_its_own_name():
    with pytest.raises(ModuleNotFoundError, match=r"ccenv\.annexes\.deploy\.nothing"):
        importlib.import_module("ccenv.deploy.nothing")
