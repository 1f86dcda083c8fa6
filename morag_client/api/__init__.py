"""MoRAG's REST API: its endpoints described once, and the two clients over them."""
