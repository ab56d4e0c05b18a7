"""Recorded solution trees: collect, store, replay, rescore, and fit routers to them."""
