"""Results on disk that explain themselves, and what may be read of a stranger's."""
