"""What MoRAG does to a document, in small: pure functions from a file's bytes to each step's data."""
