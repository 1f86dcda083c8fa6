"""The web page: what is stored and what becomes of it, live, and what a person may do about it."""
