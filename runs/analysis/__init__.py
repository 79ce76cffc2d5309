"""What is asked of networks and runs beside their verdicts: gates, leaks, recall."""
