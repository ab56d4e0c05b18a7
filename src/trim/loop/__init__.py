"""State of a solution in progress, and the background work of the step loop."""
