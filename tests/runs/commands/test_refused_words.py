"""Law of all commands: wrong words are one line that says what is right, and leave nothing."""

import importlib.util
import shlex
import sys

import pytest
import torch

import ccenv
from ccenv.runs.commands import cli
from ccenv.runs.store import provenance

TOYS = """
import torch
from ccenv.agents.base import Agent

class Mute(Agent):
    learns = False

    def act(self, observation, layer, generator=None):
        raise ValueError("expected a brain, got none")

class Late(Agent):
    learns = True

    def act(self, observation, layer, generator=None):
        self.layer = torch.nn.Linear(len(observation[0]), self.num_blocks[layer])
        return self.layer(observation) > 0

def reward(outcome):
    return -outcome.layer_cost
"""
CARD = """
seeds = [0]
settings = { dataset = "probe", network = "probe", images = 64, batch_size = 64, device = "cuda" }
rows = [{ agent = "reinforce" }, { agent = "dense" }]
"""
FILES = {
    "toys_of_refusals.py": TOYS,
    "file": "in the way",
    "card.toml": CARD,
    "unknown.toml": 'agent = "rloo"\nimage = 5',
    "agent.toml": 'agent = "rlo"',
    "half.toml": "images = ",
    "twice.toml": 'agent = "rloo"\nseed = 1\n[environment]\nseed = 2',
    "nobody.toml": "seed = 1",
}
"""What lies in the working folder."""
PROBE = "dataset=probe network=probe num_blocks=4,4 block_size=2 activation=relu images=64"
ONE_GATE = PROBE.replace("4,4", "4")
PROBE += " batch_size=64"
BUILD = "table build probe-residual probe"
TEXT = "train reinforce images=64 batch_size=8 episode=sequence dataset=python_bundled@16"
STALENESS = "train reinforce images=64 batch_size=8 episode=sequence dataset=staleness"
MEMORY = "train reinforce images=64 dataset=documents network=documents episode=sequence"
MEMORY += " reward=probability_minus_cost"
LOOKED_UP = "train reinforce images=64 dataset=python_bundled@6 weights=cotrain episode=sequence"
LOOKED_UP += " reward=probability_minus_cost"
UNKNOWN = ("--sed 3", "--seed", "--seed --json", "--threshold 3", "--see=3")
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
    "benchmark --width 16 --blocks 3": "expected --width to be a multiple of --blocks",
    "benchmark --width 16 --blocks 4 --rounds 1": "--rounds of at least 2",
    "benchmark --width 16 --blocks 4 --device tpu": "expected device to be 'cpu' or a CUDA device",
    "data mnist": "run: ccenv data mnist --download",
    "data mnits": "did you mean 'mnist'?",
    "data digits --download": "unknown dataset to download 'digits'",
    "inspect .": "expected the folder of a run",
    "plot . --out out": "to hold finished runs",
    "validate .": "to hold finished runs (result.json), got none",
    "train --config unknown.toml": "did you mean 'images'",
    "train --config agent.toml": "did you mean 'rloo'",
    "train --config half.toml": "expected TOML in",
    "train --config twice.toml": "expected seed once",
    "train --config nobody.toml": "expected an agent, got none",
    "train reinforse": "did you mean 'reinforce'?",
    "train reinforce learning_rat=1": "did you mean 'learning_rate'?",
    "train reinforce env=BlockSelectionMNST-v0": "did you mean 'BlockSelectionMNIST-v0'?",
    "train reinforce reward=acuracy_minus_cost": "did you mean 'accuracy_minus_cost'?",
    "train reinforce reward_kwargs.cost_wight=1": "did you mean 'cost_weight'?",
    "train reinforce dataset=digit": "did you mean 'digits'?",
    "train reinforce network=mpl": "did you mean 'mlp'?",
    "train reinforce observation=summry": "did you mean 'summary'?",
    "train reinforce weights=frozn": "did you mean 'frozen'?",
    "train reinforce learning_rate=fast": "expected learning_rate to be float, got 'fast'",
    "train reinforce images=0": "expected images of at least 1, got 0",
    "train reinforce images=1.5": "expected images to be int, got 1.5",
    "train reinforce reward_kwargs.cost_weight=-1": "cost_weight to be a number of at least 0",
    "train reinforce episode=sequence latency=true": "expected no latency=True",
    "train reinforce images=1e308": "expected images to be int",
    "train reinforce batch_size={[]:1}": "expected batch_size to be int, got '{[]:1}'",
    f"train reinforce batch_size={900 * '-'}1": "(903 characters)",
    f"train reinforce seed={10**20 - 1}": "got one of 67 bits",
    "train reinforce device=meta": "expected device to be 'cpu' or a CUDA device",
    "train reinforce threads=99999": f"threads of at most {provenance.most_threads()}",
    "train reinforce log_dir=": "expected log_dir to name a folder",
    "train reinforce log_dir=a\0b": "expected log_dir to name a folder",
    "train reinforce learning_rate=-1": "learning_rate to be a finite number of at least 0",
    "train condnet learning_rate=0.1,-0.5": "expected learning_rate to be a finite number",
    "train sb3_ppo policy_kwargs=x": "expected policy_kwargs to be dict",
    "train sb3_ppo gama=1": "unknown setting 'gama': did you mean 'gamma'?",
    "train reinforce seed": "expected key=value, got 'seed'",
    "train reinforce seed=1 seed=2": "expected each setting once, got 'seed' again",
    "train reinforce block_size=0": "whole numbers of at least 1",
    "train toys_of_refusals:Mut": "did you mean 'Mute'?",
    "train math:pi": "to be a subclass of ccenv.agents.base.Agent, got 3.14",
    "train ccenv.agents.base:Agent": "to define act or distribution",
    f"train ccenv.agents.sb3:SB3Agent {PROBE}": "must define algorithm()",
    "train reinforce reward=os:system": "which takes command first",
    "train toy_rums:Half": "no module named 'toy_rums'",
    "train toys_of_refusals:reward": "expected agent 'toys_of_refusals:reward' to be a subclass of",
    "train toys_of_refusals:Mute dataset=probe network=probe": "num_blocks",
    f"train toys_of_refusals:Mute {PROBE}": "expected a brain, got none",
    f"train toys_of_refusals:Late {PROBE}": "parameters in __init__, got layer.bias; layer.weight",
    f"train rloo {PROBE} group_size=1": "group_size",
    f"train rloo_budget {PROBE} number_learning_rate=-1": "number_learning_rate to be a finite",
    f"train sb3_ppo {PROBE} learning_rate=-1e-9": "expected learning_rate to be a finite number of",
    f"train sb3_ppo {PROBE} n_epochs=0": "expected n_epochs to be a whole number of at least 1",
    f"train sb3_ppo {ONE_GATE} batch_size=1": "parts of at least 2 steps",
    f"train topk {PROBE} capacity=0.001": "a capacity of at least one row",
    f"train pondernet {PROBE}": "a network with exits for pondernet",
    f"train entropy_threshold {PROBE}": "'patches' for entropy_threshold",
    "train reinforce env=BlockSelectionMNIST-v0": "ccenv data mnist --download",
    "train reinforce log_dir=file/logs": "expected a writable log folder",
    "table build resent digits": "did you mean 'resnet'",
    f"{BUILD} --split tset": "did you mean 'test'",
    f"{BUILD} wieghts=frozen": "did you mean 'weights'",
    f"{BUILD} weights=cotrain": "it learns",
    f"{BUILD} --limit 1000000": "limit of 1..",
    f"{BUILD} --processes 0": "processes",
    f"{BUILD} --menu 1": "at least 2 masks",
    f"{BUILD} --bytes 800": "256 inputs, 0.0 MB; limit the inputs",
    f"{BUILD} limit=5": "expected --limit 5",
    f"{BUILD} split=validation": "expected --split validation",
    f"{BUILD} out=here": "expected --out here",
    f"{BUILD} processes=2": "expected --processes 2",
    f"{BUILD} batch=2": "expected --batch 2",
    f"{BUILD} batch_size=2": "unknown setting 'batch_size'",
    f"{BUILD} network=mlp": "expected the network before the settings",
    f"{BUILD} ranks=2": "unknown setting 'ranks'",
    f"{BUILD} progress=1": "unknown setting 'progress'",
    f"{BUILD} command=show": "unknown setting 'command'",
    "table show nothing.safetensors": "nothing.safetensors",
    # No state from position to position, or no sequences.
    f"{TEXT} network=mlp": "expected a network that looks symbols up",
    f"{TEXT} network=gru": "keeps a state from position to position",
    f"{TEXT} network=skip_gru".replace("@16", ""): "expected a data set of sequences",
    f"{TEXT} network=skip_gru".replace("@16", "@99999999"): "expected sequences of 1 to",
    "train reinforce episode=sequence images=64": "expected a data set of sequences",
    "train block_dropout episode=sequence images=64": "expected a data set of sequences",
    # Costs of loading.
    f"{MEMORY} fast_memory=0": "fast_memory to be a whole number of at least 1",
    f"{MEMORY} fast_memory=9": "at most the 8 blocks",
    f"{MEMORY} fast_memory=2 shared=batch": "got both",
    f"{LOOKED_UP} network=gru fast_memory=2": "keeps a state from position to position",
    f"{LOOKED_UP} network=skip_gru fast_memory=1": "the ability Owns",
    f"{MEMORY} fast_memory=2".replace("sequence", "input"): "expected episode='sequence'",
    f"{MEMORY} shared=batch batch_size=1": "a batch of two rows at least",
    f"{MEMORY} shared=rows": "unknown value of shared",
    f"{MEMORY} reward_kwargs.load_weight=1.0": "expected fast_memory or shared",
    # Names, and who does not learn so.
    f"{STALENESS} network=staleness".replace("sequence", "sequences"): "did you mean 'sequence'",
    f"{STALENESS[:-1]} network=staleness": "did you mean 'staleness'",
    f"{STALENESS} network=stalenes": "did you mean 'staleness'",
    f"{STALENESS} network=staleness".replace(
        "reinforce", "noisy_topk"
    ): "an agent that learns over",
    f"{STALENESS} network=staleness concurrent=inactive": "expected no concurrent",
    f"{STALENESS} network=staleness oblivious=all": "expected no oblivious",
    f"{STALENESS} network=staleness context.cost_weight=[0.1,1.0]": "expected no context",
}
if importlib.util.find_spec("sb3_contrib"):
    REFUSED["train sb3_trpo n_critic_updates=a"] = "expected n_critic_updates to be int, got 'a'"
REFUSED |= {f"train dense env={name}": "give its settings: " for name in ccenv.SYSTEMS}
LIST = " --help lists what it takes"
REFUSED |= {
    **dict.fromkeys(["inspect", "table", "table pack", "export nowhere"], LIST),
    **dict.fromkeys(["compare --jobs many", "compare --no-recor"], LIST),
    **{f"compare --shard={shard}": "i from 1 to n" for shard in ("0/3", "4/3", "1", "a/b", "-1/2")},
    **{f"train reinforce {words}": "unrecognized arguments" for words in UNKNOWN},
    "compare --agent reinforce --cost-weights a,b": "as .25,.5,1, got 'a,b'",
}
NO_CARD = "expected device to be 'cpu' or a CUDA device that is here, got 'cuda"
if not torch.cuda.is_available():
    REFUSED |= {f"train reinforce {PROBE} device=cuda:1 dtype=bfloat16": f"{NO_CARD}:1'"}
    REFUSED |= {f"compare card.toml --jobs={jobs}": f"{NO_CARD}'" for jobs in (1, 2)}


@pytest.mark.parametrize("words", REFUSED)
def test_wrong_words_are_refused_in_one_line_and_leave_nothing(
    words, tmp_path, monkeypatch, capsys
):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CCENV_DATA", str(tmp_path / "empty"))
    # Python itself keeps what it compiles of the user's module next to it.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = sorted(tmp_path.rglob("*"))
    try:
        status = cli.main(shlex.split(words))
    except SystemExit as stopped:
        # Of a parser.
        status = stopped.code
    assert status == 2
    said = capsys.readouterr()
    # A sweep says beforehand how much is missing.
    (line,) = (line for line in said.err.splitlines() if "runs missing, about" not in line)
    assert REFUSED[words] in line
    assert line.startswith("ccenv")
    assert said.out == ""
    assert sorted(tmp_path.rglob("*")) == before
