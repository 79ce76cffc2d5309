"""Study `systems`: what came after the paper, beside what was there, at equal cost."""
