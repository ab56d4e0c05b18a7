"""The router behind OpenAI's API."""
