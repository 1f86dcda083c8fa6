"""Bytes to an object: whatever is no plain JSON object is refused with a reason, quickly."""

from __future__ import annotations

import time

import pytest

from morag_client.errors import MalformedBody
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import parse_event
from morag_client.wire.validation import validate_webhook

REFUSED = {
    "empty": (b"", "empty"),
    "blank": (b" \r\n\t", "empty"),
    "UTF-8 mark": (b'\xef\xbb\xbf{"a": 1}', "byte order mark (UTF-8)"),
    "UTF-16 LE": ('{"a": 1}'.encode("utf-16"), "byte order mark (UTF-16)"),
    "UTF-16 BE": (b"\xfe\xff" + '{"a": 1}'.encode("utf-16-be"), "byte order mark (UTF-16)"),
    "UTF-16 without a mark": ('{"a": 1}'.encode("utf-16-le"), "not valid JSON"),
    "invalid UTF-8 in a value": (b'{"a": "\xff"}', "not valid JSON"),
    "invalid UTF-8 in a key": (b'{"\xc3\x28": 1}', "not valid JSON"),
    "overlong UTF-8": (b'{"a": "\xc0\xaf"}', "not valid JSON"),
    "surrogate in UTF-8": (b'{"a": "\xed\xa0\x80"}', "not valid JSON"),
    "lone leading surrogate": (rb'{"a": "\ud800"}', "half a character"),
    "lone trailing surrogate": (rb'{"a": "\udc00"}', "half a character"),
    "surrogates the wrong way round": (rb'{"a": "\udc00\ud800"}', "half a character"),
    "lone surrogate in a key": (rb'{"\ud800": 1}', "half a character"),
    "NaN": (b'{"a": NaN}', "not valid JSON"),
    "Infinity": (b'{"a": Infinity}', "not valid JSON"),
    "-Infinity": (b'{"a": [-Infinity]}', "not valid JSON"),
    "a float beyond floats": (b'{"a": [1e400]}', "too large"),
    "a float beyond floats, written out": (b'{"a": -' + b"9" * 400 + b".5}", "too large"),
    "5000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    "5000 negative digits": (b'{"a": -' + b"9" * 5000 + b"}", "not valid JSON"),
    "duplicate key": (b'{"a": 1, "a": 2}', "'a' stands twice"),
    "duplicate key of one value": (b'{"a": 1, "a": 1}', "'a' stands twice"),
    "nested duplicate key": (b'{"x": [{"y": {"b": 1, "c": 2, "b": 3}}]}', "'b' stands twice"),
    "duplicate key in two spellings": (rb'{"\u0061": 1, "a": 2}', "'a' stands twice"),
    "empty duplicate key": (b'{"": 1, "": 2}', "'' stands twice"),
    "100,000 arrays": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not valid JSON"),
    "100,000 objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not valid JSON"),
    "100,000 open arrays": (b"[" * 100_000, "not valid JSON"),
    "an array": (b"[1]", "an array, not a JSON object"),
    "a string": (b'"task_started"', "a string, not a JSON object"),
    "a number": (b"1.5", "a number, not a JSON object"),
    "an integer": (b"-0", "a number, not a JSON object"),
    "a boolean": (b"true", "a boolean, not a JSON object"),
    "null": (b"null", "null, not a JSON object"),
    "cut off": (b'{"a": "b', "not valid JSON"),
    "two objects": (b"{}{}", "not valid JSON"),
    "something behind it": (b"{} x", "not valid JSON"),
    "NUL behind it": (b"{}\x00", "not valid JSON"),
    "a comma too much": (b'{"a": 1,}', "not valid JSON"),
    "a comment": (b"{} // done", "not valid JSON"),
    "single quotes": (b"{'a': 1}", "not valid JSON"),
    "raw NUL in a string": (b'{"a": "\x00"}', "not valid JSON"),
    "raw newline in a string": (b'{"a": "\n"}', "not valid JSON"),
    "a leading zero": (b'{"a": 01}', "not valid JSON"),
    "a form": (b"task_id=1&status=SUCCESS", "not valid JSON"),
}


@pytest.mark.parametrize(("body", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_plain_json_object_is_refused(body: bytes, why: str) -> None:
    began = time.perf_counter()

    with pytest.raises(MalformedBody) as caught:
        parse_event(body)

    assert (caught.value.status, caught.value.code) == (400, "malformed_body")
    assert why in str(caught.value)
    assert caught.value.problems == (str(caught.value),)
    assert len(str(caught.value)) < 300
    assert validate_webhook(body) == [str(caught.value)]
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (rb'{"a": "\u0000"}', {"a": "\x00"}),
        (rb'{"\u0000": 1}', {"\x00": 1}),
        (rb'{"a": "\ud83d\ude00"}', {"a": "😀"}),
        ('{"ü": "😀"}'.encode(), {"ü": "😀"}),
        (b' \r\n\t{"a": 1}\n', {"a": 1}),
        (b'{"a": ' + b"9" * 400 + b"}", {"a": int("9" * 400)}),
        (b'{"a": 1e300, "b": 1E-400, "c": -0.0}', {"a": 1e300, "b": 0.0, "c": 0.0}),
        (b'{"a": {"x": 1}, "b": {"x": 1}}', {"a": {"x": 1}, "b": {"x": 1}}),
        (b'{"x": {"x": {"x": 1}}}', {"x": {"x": {"x": 1}}}),
        (b'{"a": ' + b"[" * 150 + b"]" * 150 + b"}", None),
        (b"{}", {}),
    ],
)
def test_what_is_legal_is_taken(body: bytes, expected: dict[str, object] | None) -> None:
    decoded = decode_object(body)

    assert expected is None or decoded == expected


def test_a_string_with_nul_reaches_the_event() -> None:
    body = rb'{"event_type": "task_started", "timestamp": "2025-01-01T00:00:00",'
    event = parse_event(body + rb' "data": {"task_id": "a\u0000b", "status": "started", "message": "\u0000"}}')

    assert (event.task_id, event.message) == ("a\x00b", "\x00")


def test_text_with_a_lone_surrogate_is_refused_as_bytes_are() -> None:
    with pytest.raises(MalformedBody):
        parse_event('{"a": "\ud800"}')


@pytest.mark.parametrize("depth", [100, 190, 250, 900, 1100, 20_000])
def test_nesting_of_any_depth_is_taken_or_refused(depth: int) -> None:
    body = b'{"a": ' * depth + b"1" + b"}" * depth

    if depth < 200:
        assert parse_event(body).name == "unknown"
    else:
        with pytest.raises(MalformedBody):
            parse_event(body)
