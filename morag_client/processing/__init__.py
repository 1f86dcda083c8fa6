"""One record's way: claimed, handed to its handlers, settled."""
