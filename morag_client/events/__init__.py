"""What can happen: the names, the typed events and their payloads."""
