"""How a table comes to be: what can have one, the walk over all masks, chunks, times."""
