"""What a network is: the protocol, the walk, stages in a sequence, the checker, costs."""
