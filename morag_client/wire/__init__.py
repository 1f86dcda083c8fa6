"""Bytes to events and back: pure functions, without I/O, clock or randomness."""
