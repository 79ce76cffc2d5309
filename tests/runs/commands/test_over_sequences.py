"""Laws of runs over sequences in the commands: bad input is refused, what they show is true."""

import pytest

from ccenv.runs.commands import train

TEXT = "reinforce dataset=python_bundled@16 episode=sequence network=skip_gru"
STALENESS = "reinforce dataset=staleness network=staleness episode=sequence"
DOCUMENTS = "reinforce dataset=documents network=documents episode=sequence"
MEMORY = f"{DOCUMENTS} reward=probability_minus_cost"
REFUSED = {
    # No state from position to position, or no sequences.
    TEXT.replace("skip_gru", "mlp"): "expected a network that looks symbols up",
    TEXT.replace("skip_gru", "gru"): "keeps a state from position to position",
    TEXT.replace("@16", ""): "expected a data set of sequences",
    "reinforce episode=sequence": "expected a data set of sequences",
    "block_dropout episode=sequence": "expected a data set of sequences",
    TEXT.replace("@16", "@99999999"): "expected sequences of 1 to",
    DOCUMENTS.replace("network=documents", "network=staleness"): "expected inputs of 10 numbers",
    # Costs of loading.
    f"{MEMORY} fast_memory=0": "fast_memory to be a whole number of at least 1",
    f"{MEMORY} fast_memory=9": "at most the 8 blocks",
    f"{MEMORY} fast_memory=2 shared=batch": "got both",
    f"{MEMORY} fast_memory=2".replace("sequence", "input"): "expected episode='sequence'",
    f"{MEMORY} shared=batch batch_size=1": "a batch of two rows at least",
    f"{MEMORY} shared=rows": "unknown value of shared",
    f"{MEMORY} reward_kwargs.load_weight=1.0": "expected fast_memory or shared",
    # Names, and who does not learn so.
    f"{STALENESS}s": "did you mean 'sequence'",
    STALENESS.replace("dataset=staleness", "dataset=stalenes"): "did you mean 'staleness'",
    STALENESS.replace("network=staleness", "network=stalenes"): "did you mean 'staleness'",
    STALENESS.replace("reinforce", "noisy_topk"): "an agent that learns over sequences",
    f"{STALENESS} context.cost_weight=[0.1,1.0]": "expected no context",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_over_sequences_is_refused_in_one_line(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program = ["batch_size=8"] if "batch_size" not in words else []
    assert train.main([*words.split(), *program, "images=64", "log_dir=logs"]) == 2
    said = capsys.readouterr().err
    assert REFUSED[words] in said
    assert said.startswith("ccenv train: ")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
