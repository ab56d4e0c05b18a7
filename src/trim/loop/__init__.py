"""The step loop: its operations, the state of a solution, and background work."""
