"""HTTP/1.1 on bare sockets: for many deliveries at once, and for what no well-behaved client does."""
