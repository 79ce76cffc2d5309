"""Numbers over seeds: intervals, rows, Pareto fronts, contests with dense networks."""
