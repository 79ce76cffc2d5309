"""What all other folders import: names, random streams, masks, checked files, memory, a clock."""
