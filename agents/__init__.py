"""Agents: name -> "module:Class", imported on use."""

AGENTS: dict[str, str] = {
    "dense": "agents.reference_policies:Dense",
    "block_dropout": "agents.reference_policies:BlockDropout",
    "fixed_mask": "agents.fixed_mask:FixedMask",
    "magnitude": "agents.magnitude:Magnitude",
    "oracle": "agents.oracle:Oracle",
    "reinforce": "agents.reinforce:Reinforce",
    "reinforce_lagrangian": "agents.reinforce_lagrangian:ReinforceLagrangian",
    "rloo": "agents.rloo:Rloo",
    "straight_through": "agents.straight_through:StraightThrough",
    "topk": "agents.topk:TopK",
    "actor_critic": "agents.actor_critic:ActorCritic",
    "condnet": "agents.condnet:Condnet",
    "sb3_a2c": "agents.sb3:A2CAgent",
    "sb3_ppo": "agents.sb3:PPOAgent",
    "sb3_trpo": "agents.sb3:TRPOAgent",
}
