"""What agents say of themselves is read from their files as Python would read it."""

import ast

import pytest

from ccenv.agents import AGENTS
from ccenv.runs.config import agent_facts
from ccenv.runs.config.agent_facts import facts_in_file, facts_of, facts_of_class
from ccenv.runs.config.agent_settings import find_agent


@pytest.mark.parametrize("name", AGENTS)
def test_what_is_read_of_a_file_is_what_the_class_says(name):
    facts = facts_in_file(AGENTS[name])
    assert facts == facts_of_class(find_agent(name))
    assert facts.about


def test_an_agent_of_the_users_is_imported_and_another_name_is_refused():
    path = AGENTS["rloo"]
    assert facts_of(path) == facts_of("rloo")
    with pytest.raises(ValueError, match="did you mean 'rloo'"):
        facts_of("rlooo")
    with pytest.raises(ValueError, match="to be a subclass of ccenv"):
        facts_of("ccenv.agents.base:LayerScores")


def test_a_file_that_cannot_be_read_so_and_a_file_of_others_are_imported(monkeypatch, tmp_path):
    wanted = facts_of("rloo")
    monkeypatch.setattr(agent_facts, "constant", lambda module, node: ast.literal_eval("print()"))
    assert facts_of("rloo") == wanted
    monkeypatch.syspath_prepend(tmp_path)
    lines = "from ccenv.agents.rloo import Rloo\n\n\nclass Own(Rloo):\n    'Mine.'\n"
    (tmp_path / "facts_of_others.py").write_text(lines)
    monkeypatch.setitem(AGENTS, "own", "facts_of_others:Own")
    assert (facts_of("own").about, facts_of("own").settings) == ("Mine.", wanted.settings)


def test_constants_are_literals_names_and_sums_of_them_and_nothing_is_called():
    def value(text):
        return agent_facts.constant("ccenv.agents.sb3", ast.parse(text, mode="eval").body)

    assert value("{'a': [1 / 4, -2], 'b': (NET_ARCH, None)}") == {
        "a": [0.25, -2],
        "b": (value("NET_ARCH"), None),
    }
    for text in ("print(1)", "NET_ARCH.copy", "[one for one in (1,)]"):
        with pytest.raises(ValueError, match="malformed"):
            value(text)
