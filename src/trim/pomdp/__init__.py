"""TRIM-POMDP: the hidden state of a trace, fitted from traces, planned and simulated."""
