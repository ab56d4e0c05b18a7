"""What the server keeps: keys, spending and traffic."""
