"""Fuzzing: what every reader must hold to, whatever the bytes, and what tries to find bytes for
which it does not (`make fuzz`).

An oracle takes bytes and raises whatever a reader raises that it should not, or AssertionError.
The property tests call the same oracles with what Hypothesis makes (test_readers.py).
"""
