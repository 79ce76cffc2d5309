"""A simulator that goes on: (a simulator between episodes) <-> a tree of numbers and tensors.

Settings are stored next to the tree: a state is put back into a simulator that was built with the
same ones and seeded with the same seed.
"""

import hashlib
from typing import Any

from ccenv.base.snapshot import restore_state, state_of
from ccenv.rewards.bind import does
from ccenv.simulator.simulator import Simulator

OF_TRAINER = ("optimizer", "schedule", "num_updates")
"""What of a trainer goes on: the network's optimiser, its schedule and how far it is."""


def simulator_state(simulator: Simulator) -> dict[str, Any]:
    """Data order, streams, weights, optimiser and the reward's memory.

    Raises:
        RuntimeError: if it was never seeded, or an episode is half done.
        CannotStoreError: if the reward holds something whose state is not known.
    """
    if simulator.images_seed is None:
        raise RuntimeError("expected a seeded simulator, got a fresh one; call seed(...) first")
    if simulator.masks and not simulator.is_over:
        raise RuntimeError(
            f"expected a simulator between episodes, got one behind {len(simulator.masks)} gates; "
            "finish the episode first"
        )
    begun = not simulator.is_over
    rule = simulator.reward.rule
    if simulator.weights == "cotrain":
        trainer = {name: state_of(getattr(simulator.trainer, name)) for name in OF_TRAINER}
        learned = {"network": state_of(simulator.network), "trainer": trainer}
    else:
        learned = {"digest": weights_digest(simulator.network)}
    return learned | {
        "seed": simulator.images_seed,
        "order_stream": simulator.order.stream.get_state(),
        "order": simulator.order.rest,
        "indices": simulator.indices[:: simulator.group_size] if begun else None,
        "extensions": {one.name: one.state(begun=begun) for one in simulator.extensions},
        "network_version": simulator.network_version,
        "pending": [list(batch) for batch in simulator.learning.pending],
        "reward": state_of(dict(vars(rule)), "the reward") if does(rule, "update") else None,
    }


def restore_simulator(simulator: Simulator, tree: dict[str, Any]) -> None:
    """Puts a state back; ValueError if it is of other settings, another seed or frozen weights."""
    if simulator.images_seed != tree["seed"]:
        raise ValueError(f"expected seed {simulator.images_seed}, got a state of {tree['seed']}")
    if ("trainer" in tree) != (simulator.weights == "cotrain"):
        raise ValueError(f"expected a state with weights={simulator.weights!r}, got another")
    if "trainer" in tree:
        restore_state(simulator.network, tree["network"], "the network")
        for name in OF_TRAINER:
            current = getattr(simulator.trainer, name)
            setattr(simulator.trainer, name, restore_state(current, tree["trainer"][name], name))
    elif weights_digest(simulator.network) != tree["digest"]:
        raise ValueError("expected the same frozen weights as before, got others")
    simulator.order.stream.set_state(tree["order_stream"])
    simulator.order.rest = tree["order"]
    simulator.state, simulator.masks, simulator.gate_values = None, [], []
    for extension in simulator.extensions:
        extension.load_state(tree["extensions"][extension.name])
    simulator.learning.version = tree["network_version"]
    device = simulator.device
    batches = [
        (indices.to(device), *([tensor.to(device) for tensor in part] for part in parts))
        for indices, *parts in tree["pending"]
    ]
    simulator.learning.pending.clear()
    simulator.learning.pending.extend(batches)
    # An episode that begins may teach the network with the oldest batch that waits.
    if tree["indices"] is not None:
        simulator.begin(tree["indices"].cpu())
    rule = simulator.reward.rule
    if does(rule, "update"):
        vars(rule).update(restore_state(dict(vars(rule)), tree["reward"], "the reward"))


def weights_digest(network: Any) -> str:
    """Hash of a network's weights."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
