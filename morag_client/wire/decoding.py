"""Bytes to a JSON object, strictly: what two parsers could read in two ways is refused."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from pydantic_core import from_json, to_json

from morag_client.errors import MalformedBody

_BOMS: Final = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object that these bytes are.

    Refused, with MalformedBody: invalid UTF-8, a byte order mark, NaN and Infinity, lone surrogates, numbers of
    thousands of digits or beyond what a float holds, nesting of more than some 200 levels, duplicate keys, and
    everything that is no object.
    """
    try:
        decoded = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedBody(_reason(body, error)) from None
    if not isinstance(decoded, dict):
        raise MalformedBody(f"the body is {_kind(decoded)}, not a JSON object")
    # The fast parser keeps the last of two equal keys and takes 1e400 for infinity, and cannot be told to complain.
    # What encodes to the very same bytes again had neither; for the rest there is a slower one.
    if to_json(decoded) != body:
        _refuse_ambiguous(body)
    return decoded


def _reason(body: bytes, error: ValueError) -> str:
    for mark, encoding in _BOMS.items():
        if body.startswith(mark):
            return f"the body starts with a byte order mark ({encoding}); send plain UTF-8"
    if not body.strip():
        return "the body is empty; expected a JSON object"
    if "hex escape" in str(error):
        return f"the body has half a character, a \\u escape without its other half or its digits: {error}"
    return f"the body is not valid JSON: {error}"


def _refuse_ambiguous(body: bytes) -> None:
    try:
        _STRICT.decode(body.decode())
    except _DuplicateKey as error:
        raise MalformedBody(f"the key {error.args[0]!r} stands twice in one object") from None
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"the body is not valid JSON: {error}") from None


class _DuplicateKey(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) == len(pairs):
        return
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _DuplicateKey(key[:100])
        seen.add(key)


def _finite(number: str) -> None:
    if math.isinf(float(number)):
        raise ValueError(f"the number {number[:20]} is too large")


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite)


def _kind(decoded: object) -> str:
    if decoded is None:
        return "null"
    if isinstance(decoded, bool):
        return "a boolean"
    if isinstance(decoded, list):
        return "an array"
    return "a string" if isinstance(decoded, str) else "a number"
