"""A mock MoRAG server that really processes text documents."""
