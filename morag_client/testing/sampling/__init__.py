"""What `morag_client.testing.samples` is made of: sample bodies, and where in them a field has its place."""
