"""TensorBoard: what a run writes while it learns."""
