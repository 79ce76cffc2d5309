"""Laws of dropout of units: on while the network learns, off when it is used."""

import pytest
import torch

from ccenv.base.registry import resolve
from ccenv.networks.baselines.dense import DropoutMLP, half
from ccenv.networks.core.mlp import GatedMLP
from ccenv.networks.learning.training import CoTrainer
from ccenv.networks.registry import NETWORKS


def batches(network, seed):
    torch.manual_seed(seed)
    images, labels = torch.rand(64, 6), torch.arange(64) % 3
    masks = [torch.ones(64, 1, dtype=torch.bool)]
    return CoTrainer(network), images, labels, masks


def test_dropout_is_on_while_the_network_learns_and_off_when_it_is_used():
    network = half(in_features=6, num_blocks=(1,), block_size=400, num_classes=3)
    plain = GatedMLP(6, (1,), 400, 3)
    plain.load_state_dict(network.state_dict())
    trainer, images, labels, masks = batches(network, 0)
    network.eval()
    assert torch.equal(network(images, masks), plain(images, masks))
    network.train()
    hidden = network.gated_layer(0, images, None, None, "reference").detach()
    assert (hidden == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    # What is left counts double, so that units mean the same on average.
    kept = plain.gated_layer(0, images, None, None, "reference").detach()
    torch.testing.assert_close(hidden, torch.where(hidden == 0, 0.0, 2 * kept))
    trainer.update(images, labels, masks)
    assert not network.training


def test_dropout_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"dropout in \[0, 1\)"):
        DropoutMLP(6, (1,), 4, 3, dropout=1.0)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_table_names_the_share_that_is_dropped(share):
    builder = resolve(f"mlp-dropout-{share}", NETWORKS, "network")
    network = builder(in_features=6, num_blocks=(2,), block_size=4, num_classes=3)
    assert network.dropout == share
