"""The functions and errors beside the receiver."""

from typing import assert_type

import morag_client
from morag_client import (
    DeliveryRejected,
    Event,
    InvalidPayload,
    SignatureError,
    parse_event,
    sign,
    validate_webhook,
    verify_signature,
)


def use(body: bytes) -> None:
    try:
        event = parse_event(body, url="https://app.example/webhook?document=42")
    except InvalidPayload as error:
        assert_type(error.status, int)
        return
    except DeliveryRejected as error:
        assert_type(error.code, str)
        return
    assert_type(event, Event)
    assert_type(validate_webhook(body), list[str])
    assert_type(validate_webhook(dict(event.raw)), list[str])
    assert_type(sign(body, "secret"), str)
    try:
        verify_signature(body, sign(body, "secret"), ["secret", b"other"])
    except SignatureError:
        pass
    assert_type(morag_client.parse_event(body), Event)
