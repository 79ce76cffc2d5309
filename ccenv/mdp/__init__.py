"""One episode as pure functions: transitions, observations, codes of actions."""

LOOKS = {
    "layer_input": "what the network offers to be seen: a layer's input, or features averaged",
    "summary": "the image pooled to at most 8 x 8, and norms of the blocks of the gate before",
    "symbols": "the last symbols of a window as numbers, the same at every gate",
    "certainty": "how sure the next exit is; before other gates what the network offers",
}
"""Observations by name, and what each shows; `ccenv.mdp.observations` makes them."""
