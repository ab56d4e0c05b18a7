"""Engines that run or reach language models."""
