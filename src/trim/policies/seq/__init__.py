"""TRIM-Seq: a policy network over the whole sequence of steps."""
