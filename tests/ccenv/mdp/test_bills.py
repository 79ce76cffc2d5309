"""Bills and observations in one compiled call are what torch's small calls give, bit for bit."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.base.seeding import stream
from ccenv.mdp.bills import bill, has_plain_bill
from ccenv.mdp.dynamics import initial, transition
from ccenv.mdp.observations import compiled_show, make_observer
from ccenv.networks.core.arguments import build_network
from ccenv.networks.core.mlp import GatedMLP
from ccenv.sparse.cpu.buffers import kept_memory


class Doubled(GatedMLP):
    """Billed twice."""

    def macs(self, gate, hidden, mask):
        return 2 * super().macs(gate, hidden, mask)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), rows=st.sampled_from((1, 5)), group=st.sampled_from((1, 2)))
def test_a_compiled_bill_and_look_are_the_networks_own_whatever_lies_in_memory(seed, rows, group):
    sizes = {"in_features": 9, "num_blocks": (4, 2), "block_size": (3, 5), "head_units": (6,)}
    network = build_network(GatedMLP, seed, **sizes).requires_grad_(False)
    generator, observer = stream(seed, "bills"), make_observer("layer_input", network, (1, 3, 3))
    images = torch.rand(rows, 1, 3, 3, generator=generator)
    state = initial(network, images, torch.zeros(rows, dtype=torch.int64), group)
    for gate, blocks in enumerate(network.num_blocks):
        # Every other column of a wider mask: rows and bits lie apart.
        wide = torch.rand(rows * group, 2 * blocks, generator=generator) < 0.5
        mask = wide[:, ::2] if seed % 2 else wide[:, :blocks]
        step = network.macs(gate, state.hidden, mask)
        macs, total = state.macs + step, network.dense_macs
        wanted = macs, (step / total).float(), (macs / total).float()
        found = bill(network, gate, state.hidden, mask, state.macs)
        assert all(
            torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found, wanted, strict=True)
        )
        state, _ = transition(network, state, mask)
        look = torch.zeros(rows * group, observer.obs_size)
        look[:, : state.hidden.x.shape[1]] = state.hidden.x
        if gate == 0:
            look[:, observer.obs_size - 1] = 1
        assert torch.equal(observer(state), look)
        by_column = state.hidden.x.t().contiguous().t()
        width = by_column.shape[1]
        assert torch.equal(compiled_show(by_column, width, -1), by_column)


def test_a_bill_of_ones_own_is_asked_for():
    sizes = {"in_features": 9, "num_blocks": (2,), "block_size": 3}
    network = build_network(Doubled, 0, **sizes)
    state = initial(network, torch.zeros(2, 9), torch.zeros(2, dtype=torch.int64))
    everything = torch.ones(2, 2, dtype=torch.bool)
    assert not has_plain_bill(Doubled)
    macs, layer_cost, _ = bill(network, 0, state.hidden, everything, state.macs)
    assert macs.tolist() == [2 * network.dense_macs] * 2
    assert layer_cost.tolist() == [2.0, 2.0]


def test_memory_is_kept_for_later_tensors_where_torch_would_begin_it_and_only_once_it_is_free():
    first = kept_memory(1024, 300).fill_(1)
    view, place = first.numpy()[5:], first.data_ptr()
    del first
    second = kept_memory(1024, 300).fill_(2)
    assert second.data_ptr() != place
    assert (view == 1).all()
    assert not place % 64
    assert not second.data_ptr() % 64
    del view
    assert kept_memory(1024, 300).data_ptr() == place
