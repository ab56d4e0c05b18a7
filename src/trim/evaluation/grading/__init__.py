"""Grading: whether an answer is the reference's, by the rules of each data set."""
