"""Agents: name -> "module:Class", imported on use."""

from typing import TYPE_CHECKING

from ccenv.base.registry import names_on_use

if TYPE_CHECKING:
    from ccenv.agents.base import Agent

__all__ = ["AGENTS", "Agent"]

AGENTS: dict[str, str] = {
    "dense": "ccenv.agents.reference_policies:Dense",
    "block_dropout": "ccenv.agents.reference_policies:BlockDropout",
    "fixed_mask": "ccenv.agents.fixed_mask:FixedMask",
    "hash": "ccenv.agents.hash_routing:Hash",
    "act": "ccenv.agents.act:Act",
    "allocation": "ccenv.agents.allocation:ConstrainedAllocation",
    "confidence": "ccenv.agents.confidence:Confidence",
    "dynamic_gate": "ccenv.agents.dynamic_gate:DynamicGate",
    "entropy_threshold": "ccenv.agents.entropy_threshold:EntropyThreshold",
    "magnitude": "ccenv.agents.magnitude:Magnitude",
    "noisy_topk": "ccenv.agents.noisy_topk:NoisyTopK",
    "oracle": "ccenv.agents.oracle:Oracle",
    "reinforce": "ccenv.agents.reinforce:Reinforce",
    "reinforce_lagrangian": "ccenv.agents.reinforce_lagrangian:ReinforceLagrangian",
    "rloo": "ccenv.agents.rloo:Rloo",
    "rloo_budget": "ccenv.agents.rloo_budget:RlooBudget",
    "straight_through": "ccenv.agents.straight_through:StraightThrough",
    "topk": "ccenv.agents.topk:TopK",
    "gumbel": "ccenv.agents.gumbel:Gumbel",
    "disarm": "ccenv.agents.disarm:Disarm",
    "imitation": "ccenv.agents.imitation:Imitation",
    "blockdrop": "ccenv.agents.blockdrop:BlockDrop",
    "skipnet": "ccenv.agents.skipnet:SkipNet",
    "pondernet": "ccenv.agents.pondernet:PonderNet",
    "wta_retrieval": "ccenv.agents.wta_retrieval:WtaRetrieval",
    "actor_critic": "ccenv.agents.actor_critic:ActorCritic",
    "condnet": "ccenv.agents.condnet:Condnet",
    "sb3_a2c": "ccenv.agents.sb3:A2CAgent",
    "sb3_ppo": "ccenv.agents.sb3:PPOAgent",
    "sb3_trpo": "ccenv.agents.sb3:TRPOAgent",
}

__getattr__ = names_on_use(__name__, {"base": ["Agent"]})
