"""What is to be run: settings, their values, sweeps."""
