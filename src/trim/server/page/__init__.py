"""The page: a question asked and watched, and what an operator sees of the traffic."""
