"""Laws of networks that define no more than the needed parts, and of defaults."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import ccenv
from ccenv.annexes.agents.magnitude import Magnitude
from ccenv.annexes.simulator.context import least_macs
from ccenv.networks.core.abilities import Norms
from ccenv.networks.core.check import check_parts
from ccenv.networks.core.exit_state import has_exits
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.core.protocol import NEEDED, as_gated, forward
from ccenv.simulator.simulator import Simulator
from tests.ccenv.episodes import seeded
from tests.ccenv.networks.tiny import masks_of


class Foreign(nn.Module):
    """A module that knows nothing of ccenv's classes."""

    def __init__(self, in_features: int = 64, num_classes: int = 10, **_: object) -> None:
        super().__init__()
        self.inner = GatedMLP(in_features, (3, 2), 2, num_classes)
        self.gates, self.num_classes = self.inner.gates, num_classes
        self.dense_macs = self.inner.dense_macs

    def start(self, inputs: Tensor) -> object:
        return self.inner.start(inputs)

    def step(self, gate, hidden, mask, weights=None, backend="auto"):
        return self.inner.step(gate, hidden, mask, weights, backend)

    def logits(self, hidden, backend="auto"):
        return self.inner.logits(hidden, backend)

    def look(self, gate, hidden):
        return self.inner.look(gate, hidden)

    def macs(self, gate, hidden, mask):
        return self.inner.macs(gate, hidden, mask)


def test_a_module_with_the_needed_parts_alone_passes_the_checker_and_runs_in_the_environment():
    network = Foreign().eval()
    ccenv.check_network(network, torch.rand(2, 64))
    simulator = seeded(4, network=network, observation="summary")
    simulator.begin()
    assert [simulator.step(mask).outcome.is_last for mask in masks_of(network, 4)] == [False, True]
    assert type(network) is Foreign
    assert isinstance(simulator.network, Foreign)


def test_what_is_adapted_shares_its_parameters_and_survives_copies_and_pickle():
    network = Foreign().eval()
    adapted = as_gated(network)
    x, masks = torch.rand(5, 64), masks_of(network, 5)
    for found in (adapted, copy.deepcopy(adapted), pickle.loads(pickle.dumps(adapted))):
        assert isinstance(found, Foreign)
        assert found.state_dict().keys() == network.state_dict().keys()
        assert torch.equal(found(x, masks), forward(network, x, masks))
    assert next(adapted.parameters()) is next(network.parameters())
    assert as_gated(adapted) is adapted


def test_defaults_say_that_a_network_has_nothing_beyond_the_needed_parts():
    network = as_gated(Foreign())
    assert network.abilities == ()
    assert not has_exits(network)
    assert network.memory_bytes() == sum(p.nbytes for p in network.parameters())
    with pytest.raises(ValueError, match="least_macs"):
        least_macs(network, 0)


@pytest.mark.parametrize("name", NEEDED)
def test_a_network_that_does_not_define_a_needed_part_is_refused_by_name(name):
    network = Foreign()
    own = {n: v for n, v in vars(Foreign).items() if n != name}
    kinds = [type("Foreign", (nn.Module,), own), type("Own", (ccenv.GatedNetwork,), own)]
    for kind in kinds:
        other = object.__new__(kind)
        vars(other).update({n: v for n, v in vars(network).items() if n != name})
        with pytest.raises(TypeError, match=f"without {name};"):
            check_parts(other)


class Normed(Foreign):
    """It tells its blocks' norms, and not what they cost."""

    abilities = (Norms,)

    def tells_norms(self, gate):
        return True

    def block_norms(self, gate, hidden):
        return self.inner.block_norms(gate, hidden)


def test_what_a_network_lacks_of_an_ability_is_refused_by_name():
    with pytest.raises(ValueError, match="block_norms"):
        Magnitude(Simulator(4, network=Foreign().eval()))
    with pytest.raises(TypeError, match="ability Norms, got one without block_macs"):
        Simulator(4, network=Normed().eval())
