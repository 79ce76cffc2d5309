"""Agents: name -> class, imported on use."""

from typing import TYPE_CHECKING

from ccenv.base.registry import NameTable, names_on_use

if TYPE_CHECKING:
    from ccenv.agents.base import Agent
    from ccenv.agents.policy_gradient import PolicyGradient

__all__ = ["AGENTS", "Agent", "PolicyGradient"]

AGENTS = NameTable(
    {
        "dense": "ccenv.agents.reference_policies:Dense",
        "block_dropout": "ccenv.agents.reference_policies:BlockDropout",
        "fixed_mask": "ccenv.agents.searched:FixedMask",
        "hash": "ccenv.annexes.agents.hash_routing:Hash",
        "act": "ccenv.annexes.agents.act:Act",
        "allocation": "ccenv.annexes.agents.allocation:ConstrainedAllocation",
        "confidence": "ccenv.annexes.agents.confidence:Confidence",
        "dynamic_gate": "ccenv.annexes.agents.dynamic_gate:DynamicGate",
        "entropy_threshold": "ccenv.annexes.agents.entropy_threshold:EntropyThreshold",
        "magnitude": "ccenv.annexes.agents.magnitude:Magnitude",
        "noisy_topk": "ccenv.annexes.agents.noisy_topk:NoisyTopK",
        "oracle": "ccenv.agents.searched:Oracle",
        "reinforce": "ccenv.agents.reinforce:Reinforce",
        "reinforce_lagrangian": "ccenv.agents.reinforce:ReinforceLagrangian",
        "ppo": "ccenv.agents.ppo:Ppo",
        "rloo": "ccenv.agents.rloo:Rloo",
        "rloo_budget": "ccenv.annexes.agents.rloo_budget:RlooBudget",
        "straight_through": "ccenv.annexes.agents.straight_through:StraightThrough",
        "topk": "ccenv.annexes.agents.topk:TopK",
        "gumbel": "ccenv.annexes.agents.gumbel:Gumbel",
        "disarm": "ccenv.annexes.agents.disarm:Disarm",
        "blockdrop": "ccenv.annexes.agents.blockdrop:BlockDrop",
        "skipnet": "ccenv.annexes.agents.skipnet:SkipNet",
        "pondernet": "ccenv.annexes.agents.pondernet:PonderNet",
        "wta_retrieval": "ccenv.annexes.agents.wta_retrieval:WtaRetrieval",
        "actor_critic": "ccenv.agents.reinforce:ActorCritic",
        "condnet": "ccenv.agents.condnet:Condnet",
        "sb3_a2c": "ccenv.agents.sb3:A2CAgent",
        "sb3_ppo": "ccenv.agents.sb3:PPOAgent",
        "sb3_trpo": "ccenv.agents.sb3:TRPOAgent",
    }
)

__getattr__ = names_on_use(__name__, {"base": ["Agent"], "policy_gradient": ["PolicyGradient"]})
