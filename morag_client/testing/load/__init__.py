"""Many tasks at once, to see what a receiver takes."""
