"""Uses of mask tables: optimum, gradients, Pareto fronts, learners, policies as files; numpy."""
