"""MoRAG's REST API: its endpoints described once, and the clients over them."""
