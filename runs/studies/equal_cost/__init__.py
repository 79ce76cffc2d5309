"""Dense networks against conditional ones at equal total MACs."""
