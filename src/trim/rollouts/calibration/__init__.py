"""Settings that keep a budget or an accuracy target, chosen on recorded rollouts."""
