"""What `morag-client demo` is made of."""
