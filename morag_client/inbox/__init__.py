"""The durable inbox: every delivery stored once, what became of it, and who is at work on it."""
