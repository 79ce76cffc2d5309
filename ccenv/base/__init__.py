"""What everything stands on: names, random streams, masks, checked files, memory, a clock."""
