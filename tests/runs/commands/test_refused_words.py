"""Law of all commands: wrong words are one line that says what is right, and leave nothing."""

import shlex

import pytest

from ccenv.runs.commands import cli

PAIR = "compare --agent reinforce --rewards potential,nll_minus_cost"
REFUSED = {
    "comapre": "did you mean 'compare'?",
    "compare none.toml": "none.toml, got no such file",
    "compare quikstart": "did you mean 'quickstart'?",
    "compare --agent reinforce --rewards acuracy --cost-weights 1,2": "unknown reward",
    "compare --agent rloo --rewards negative_nll,potential --cost-weights 1,2": "none; give it",
    "compare --agent rloo --rewards blockdrop,potential --cost-weights 1,2": "wrong_penalty",
    "compare --agent rloo --rewards potential --cost-weights 1,2": "rewards as a list of two",
    "compare --rewards potential,nll_minus_cost --cost-weights 1,2": "got no agent",
    "compare digits --agent reinforce --rewards potential,nll_minus_cost": "got both",
    f"{PAIR.replace('force', 'forse')} --cost-weights 1,2": "did you mean 'reinforce'",
    PAIR: "cost_weights as a list of two",
    f"{PAIR} --cost-weights 1,1": "cost_weights as a list of two",
    f"{PAIR} --cost-weights 1,-2": "cost_weight to be a number of at least 0",
    f"{PAIR} --cost-weights 1,nan": "expected finite numbers",
    f"{PAIR} --cost-weights 1,2 --seeds 1": "at least 2 seeds",
    f"{PAIR.replace('force', 'force rate=1')} --cost-weights 1,2": "unknown setting 'rate'",
    "list reward": "did you mean 'rewards'?",
    "list rewards lagrangain": "did you mean 'lagrangian'?",
    "list agents reinforse": "did you mean 'reinforce'?",
    "list agents nowhere:Agent": "no module named 'nowhere'",
    "suite rlo": "unknown agent 'rlo': did you mean 'rloo'?",
    "suite rloo --skill deph": "unknown skill 'deph': did you mean 'depth'?",
    "suite rloo --task depht-2": "unknown task 'depht-2': did you mean 'depth-2'?",
    "suite rloo learning_rat=1": "did you mean 'learning_rate'?",
    "suite rloo reward=blockdrop": "unknown setting of an agent of the suite 'reward'",
    "train rloo num_kept=2 num_kept=3": "expected each setting once",
}


@pytest.mark.parametrize("words", REFUSED)
def test_wrong_words_are_refused_in_one_line_and_leave_nothing(
    words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(words)) == 2
    said = capsys.readouterr()
    assert REFUSED[words] in said.err
    assert (said.err.count("\n"), said.out) == (1, "")
    assert not list(tmp_path.iterdir())
