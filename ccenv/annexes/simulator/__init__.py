"""Settings that add to the walk of a simulator, asked for by name, see `ccenv.simulator.step`."""
