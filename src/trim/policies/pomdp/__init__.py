"""TRIM-POMDP: a hidden-state model of a solution, its belief filter, planner and simulator."""
