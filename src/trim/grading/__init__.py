"""Answer extraction and grading, by the rules of each benchmark."""
