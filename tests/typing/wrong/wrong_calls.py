from morag_client import parse_event, sign, verify_signature

parse_event(5)  # error
parse_event(b"", "https://app.example/webhook")  # error
sign("text", "secret")  # error
sign(b"bytes", None)  # error
verify_signature(b"bytes", 5, "secret")  # error
