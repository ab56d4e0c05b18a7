"""Studies of scorers and routers, each of which ends in a verdict, tables and pictures."""
