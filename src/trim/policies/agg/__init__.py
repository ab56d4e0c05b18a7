"""TRIM-Agg: a policy network over aggregated step features."""
