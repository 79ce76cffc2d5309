"""Block-sparse linear layers: y = act(x W + b) on the blocks that are on, forward and backward."""
