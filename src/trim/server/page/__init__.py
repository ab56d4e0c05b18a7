"""The web page: ask a question and watch its steps; the traffic for operators."""
