"""Numbers over seeds: intervals, rows, fronts, contests with dense networks."""
