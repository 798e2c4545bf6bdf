"""k-anonymity of what is left of subjects: ladders, classes, and how much is told of whom."""
