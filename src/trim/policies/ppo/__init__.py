"""PPO training of routers on recorded rollouts."""
