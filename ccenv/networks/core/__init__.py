"""What a network is: the protocol, the walk, stages in a sequence, the checker, and what it costs."""
