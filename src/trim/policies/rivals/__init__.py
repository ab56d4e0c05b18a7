"""Routers from other papers, for comparison."""
