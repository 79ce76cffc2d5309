"""What studies on tables of all masks share: learners, estimators, what a mean cost reaches."""
