"""Agents: name -> class, imported on use."""

from typing import TYPE_CHECKING

from ccenv.base.registry import NameTable, names_on_use

if TYPE_CHECKING:
    from ccenv.agents.base import Agent

__all__ = ["AGENTS", "Agent"]

AGENTS = NameTable(
    {
        "dense": "ccenv.agents.reference_policies:Dense",
        "block_dropout": "ccenv.agents.reference_policies:BlockDropout",
        "fixed_mask": "ccenv.agents.searched:FixedMask",
        "hash": "ccenv.agents.systems.hash_routing:Hash",
        "act": "ccenv.agents.systems.act:Act",
        "allocation": "ccenv.agents.systems.allocation:ConstrainedAllocation",
        "confidence": "ccenv.agents.systems.confidence:Confidence",
        "dynamic_gate": "ccenv.agents.systems.dynamic_gate:DynamicGate",
        "entropy_threshold": "ccenv.agents.systems.entropy_threshold:EntropyThreshold",
        "magnitude": "ccenv.agents.systems.magnitude:Magnitude",
        "noisy_topk": "ccenv.agents.systems.noisy_topk:NoisyTopK",
        "oracle": "ccenv.agents.searched:Oracle",
        "reinforce": "ccenv.agents.reinforce:Reinforce",
        "reinforce_lagrangian": "ccenv.agents.reinforce_lagrangian:ReinforceLagrangian",
        "rloo": "ccenv.agents.rloo:Rloo",
        "rloo_budget": "ccenv.agents.systems.rloo_budget:RlooBudget",
        "straight_through": "ccenv.agents.systems.straight_through:StraightThrough",
        "topk": "ccenv.agents.systems.topk:TopK",
        "gumbel": "ccenv.agents.systems.gumbel:Gumbel",
        "disarm": "ccenv.agents.systems.disarm:Disarm",
        "blockdrop": "ccenv.agents.systems.blockdrop:BlockDrop",
        "skipnet": "ccenv.agents.systems.skipnet:SkipNet",
        "pondernet": "ccenv.agents.systems.pondernet:PonderNet",
        "wta_retrieval": "ccenv.agents.systems.wta_retrieval:WtaRetrieval",
        "actor_critic": "ccenv.agents.actor_critic:ActorCritic",
        "condnet": "ccenv.agents.condnet:Condnet",
        "sb3_a2c": "ccenv.agents.sb3:A2CAgent",
        "sb3_ppo": "ccenv.agents.sb3:PPOAgent",
        "sb3_trpo": "ccenv.agents.sb3:TRPOAgent",
    }
)

__getattr__ = names_on_use(__name__, {"base": ["Agent"]})
