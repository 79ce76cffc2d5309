"""What every mask answers, used: optimum, gradients, fronts, learners, policies as files; numpy."""
