"""One episode as pure functions: transitions, observations, codes of actions."""

LOOKS = {
    "layer_input": "features that the network offers: a layer's input, or averaged activations",
    "summary": "the image pooled to at most 8 x 8, and norms of the previous gate's blocks; "
    "of what is no image layer_input",
    "symbols": "the last symbols of a window as numbers, the same at every gate",
    "certainty": "how certain the next exit is; before other gates as layer_input",
}
"""Kind of observation -> what it shows; `ccenv.mdp.observations` makes them."""
