"""What studies on tables of all masks share: learners, and what a mean cost reaches."""
