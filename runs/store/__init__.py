"""Results on disk that explain themselves, and safe reading of other people's."""
