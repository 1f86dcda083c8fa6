"""What is known of a task after each of its events."""
