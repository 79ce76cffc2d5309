"""Dense networks beside conditional ones: contests at equal cost -> tables, figures, a section."""
