"""Agents: name -> "module:Class", imported on use."""

AGENTS: dict[str, str] = {
    "dense": "ccenv.agents.reference_policies:Dense",
    "block_dropout": "ccenv.agents.reference_policies:BlockDropout",
    "fixed_mask": "ccenv.agents.fixed_mask:FixedMask",
    "hash": "ccenv.agents.hash_routing:Hash",
    "confidence": "ccenv.agents.confidence:Confidence",
    "magnitude": "ccenv.agents.magnitude:Magnitude",
    "noisy_topk": "ccenv.agents.noisy_topk:NoisyTopK",
    "oracle": "ccenv.agents.oracle:Oracle",
    "reinforce": "ccenv.agents.reinforce:Reinforce",
    "reinforce_lagrangian": "ccenv.agents.reinforce_lagrangian:ReinforceLagrangian",
    "rloo": "ccenv.agents.rloo:Rloo",
    "rloo_budget": "ccenv.agents.rloo_budget:RlooBudget",
    "straight_through": "ccenv.agents.straight_through:StraightThrough",
    "topk": "ccenv.agents.topk:TopK",
    "actor_critic": "ccenv.agents.actor_critic:ActorCritic",
    "condnet": "ccenv.agents.condnet:Condnet",
    "sb3_a2c": "ccenv.agents.sb3:A2CAgent",
    "sb3_ppo": "ccenv.agents.sb3:PPOAgent",
    "sb3_trpo": "ccenv.agents.sb3:TRPOAgent",
}
