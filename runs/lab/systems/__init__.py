"""What single systems do that is no sweep: pondering by difficulty, updates under way."""
