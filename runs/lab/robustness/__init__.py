"""What goes wrong: kills, faults of disk and files, odd words, long use -> what came of it."""
