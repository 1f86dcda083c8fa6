"""Bodies over real sockets: whatever is sent is answered, with what is wrong; nothing is a 500, and nothing hangs."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import bodies
import deliveries
import pytest
import receiving
import servers

LIMIT = 300_000

MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "blanks only": b" \r\n\t ",
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
    "Latin-1": '{"a": "é"}'.encode("latin-1"),
    "cut in the middle of a character": '{"a": "é"}'.encode()[:8],
    "overlong UTF-8": b'{"a": "\xc0\x80"}',
    "surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "lone surrogate": b'{"a": "\\ud800"}',
    "lone low surrogate": b'{"a": "\\udc00 x"}',
    "lone surrogate in a key": b'{"\\ud800": 1}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": [Infinity]}',
    "-Infinity": b'{"a": -Infinity}',
    "a number too large for a float": b'{"a": 1e400}',
    "a huge integer": b'{"a": ' + b"9" * 100_000 + b"}",
    "duplicate keys": b'{"event_type": "a", "event_type": "b"}',
    "duplicate keys, one escaped": b'{"event_type": "a", "\\u0065vent_type": "b"}',
    "duplicate keys deep inside": b'{"a": [{"b": {"c": 1, "c": 1}}]}',
    "100,000 arrays": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 objects": b'{"a": ' * 40_000 + b"1" + b"}" * 40_000,
    "100,000 opened": b"[" * 100_000,
    "NUL": b'{"a": "\x00"}',
    "NUL behind": b'{"a": 1}\x00',
    "control character": b'{"a": "\n"}',
    "truncated": b'{"event_type": "task_st',
    "trailing comma": b'{"a": 1,}',
    "two objects": b'{"a": 1}{"b": 2}',
    "single quotes": b"{'a': 1}",
    "a comment": b'{"a": 1} // x',
    "a form": b"event_type=task_started&task_id=1",
    "gzip without saying so": gzip.compress(b'{"a": 1}'),
    "an array": b'[{"event_type": "task_started"}]',
    "a string": b'"task_started"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
}

INVALID: dict[str, tuple[bytes, list[str]]] = {
    "envelope without anything else": (b'{"event_type": "task_started"}', ["timestamp", "data"]),
    "envelope with wrong fields": (
        b'{"event_type": "task_progress", "timestamp": "yesterday", "data": {"task_id": 7}}',
        ["timestamp", "task_id", "status"],
    ),
    "step without a task": (deliveries.as_body({"step": "chunking", "status": "completed"}), ["task_id"]),
    "step of an unlisted status": (
        deliveries.as_body({"task_id": "1", "step": "chunking", "status": "paused", "progress_percent": "x"}),
        ["status", "progress_percent"],
    ),
    "ingest result": (deliveries.as_body({"status": "SUCCESS"}), ["task_id"]),
    "stage": (deliveries.as_body({"event": "stage_completed"}), ["stage"]),
    "pipeline": (deliveries.as_body({"event": "pipeline_completed", "pipeline": []}), ["pipeline"]),
    "chain": (deliveries.as_body({"type": "stage_chain_completion"}), ["success"]),
}

ACCEPTED: dict[str, bytes] = {
    "NUL, escaped, in every string": deliveries.step_body(
        "ta\0sk", "chunk\0ing", "failed", error_message="\0", more="\0"
    ),
    "no dialect at all": b'{"hello": "world"}',
    "an empty object": b"{}",
    "an unlisted event": deliveries.as_body({"event": "coffee_ready"}),
    "a pair of surrogates": b'{"a": "\\ud83d\\ude00"}',
    "blanks around": b' \r\n{"a": "blanks"}\n ',
    "nested as deep as anybody needs": b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
    "a large integer": b'{"a": ' + b"9" * 400 + b"}",
    "ids of any length": deliveries.step_body("t" * 100_000, document_id="d" * 100_000),
    "keys without sense": deliveries.as_body({"": 1, "\0": 2, "a" * 10_000: 3, "__class__": 4}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bodies")


@pytest.fixture(scope="module", params=["httptools", "h11"])
def url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    receiver = receiving.receiver_of(folder, max_body_bytes=LIMIT, body_timeout=0.5)
    with servers.serving(receiver, http=request.param) as url:
        yield url


def post(url: str, body: bytes, *lines: bytes, **how: bytes | None) -> servers.Answer:
    return servers.exchange(url, servers.request_bytes(body, servers.signed(body), *lines, **how))


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_json_object_is_400_and_quarantined_once(url: str, folder: Path, body: bytes) -> None:
    events, _ = receiving.counts(folder)

    answers = [post(url, body, target=target) for target in (b"/webhook", b"/webhook?again=1")]

    assert [(answer.status, answer.json["code"]) for answer in answers] == [(400, "malformed_body")] * 2
    assert len(answers[0].json["problems"]) == 1
    assert len(answers[0].body) < 1000
    [row] = quarantined(folder, body)
    assert row == (400, "malformed_body", answers[0].json["problems"])
    assert receiving.counts(folder)[0] == events


@pytest.mark.parametrize(("body", "named"), INVALID.values(), ids=INVALID)
def test_a_known_dialect_with_wrong_fields_is_422_naming_all_and_quarantined_once(
    url: str, folder: Path, body: bytes, named: list[str]
) -> None:
    events, _ = receiving.counts(folder)

    answers = [post(url, body) for _ in range(2)]

    assert [(answer.status, answer.json["code"]) for answer in answers] == [(422, "invalid_payload")] * 2
    for field in named:
        assert any(field in problem for problem in answers[0].json["problems"]), field
    [row] = quarantined(folder, body)
    assert row == (422, "invalid_payload", answers[0].json["problems"])
    assert receiving.counts(folder)[0] == events


def quarantined(folder: Path, body: bytes) -> list[tuple[int, str, list[str]]]:
    rows = receiving.query(folder, "SELECT body, status, code, problems FROM webhook_quarantine")
    return [(status, code, json.loads(problems)) for kept, status, code, problems in rows if kept == body]


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_odd_and_legal_is_accepted(url: str, folder: Path, body: bytes) -> None:
    quarantined_before = receiving.counts(folder)[1]

    assert post(url, body).status == 200

    assert post(url, body).body == b'{"status":"duplicate"}'
    assert receiving.counts(folder)[1] == quarantined_before


@pytest.mark.parametrize("name", bodies.ALL)
def test_every_body_of_the_guide_and_the_releases_is_accepted(url: str, name: str) -> None:
    body = bodies.body(name)

    assert post(url, body).status == 200
    assert post(url, body).json == {"status": "duplicate"}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        b"",
        b"text/plain",
        b"text/json",
        b"application/jsonp",
        b"application/json, text/plain",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"application/json; charset=utf-16",
        b'application/json; charset="latin-1"',
        b"\xff",
    ],
)
def test_another_content_type_is_415_and_leaves_nothing(url: str, folder: Path, content_type: bytes | None) -> None:
    before = receiving.counts(folder)

    answer = post(url, deliveries.task_body(), content_type=content_type)

    assert (answer.status, answer.json["code"]) == (415, "unsupported_body")
    assert receiving.counts(folder) == before


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"application/json; charset=utf-8",
        b'application/json;charset="UTF-8"',
        b"Application/JSON",
        b"application/json ; profile=x; charset=us-ascii",
        b"application/json;",
    ],
)
def test_json_with_parameters_is_fine(url: str, content_type: bytes) -> None:
    assert post(url, deliveries.task_body(), content_type=content_type).status == 200


@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP", b"br", b"deflate", b"identity, gzip", b"x"])
def test_a_content_encoding_is_415_and_leaves_nothing(url: str, folder: Path, encoding: bytes) -> None:
    before, body = receiving.counts(folder), gzip.compress(deliveries.task_body())

    assert post(url, body, b"Content-Encoding: " + encoding).status == 415

    assert receiving.counts(folder) == before


def test_identity_is_no_encoding(url: str) -> None:
    assert post(url, deliveries.task_body(), b"Content-Encoding: identity").status == 200


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"])
def test_another_method_is_405(url: str, method: bytes) -> None:
    answer = servers.exchange(url, servers.request_bytes(b"", method=method))

    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "target", [b"/", b"/webhook2", b"/webhook/x", b"//webhook", b"/webhook%00", b"/%ff", b"/Webhook"]
)
def test_another_path_is_404(url: str, target: bytes) -> None:
    body = deliveries.task_body()

    assert servers.exchange(url, servers.request_bytes(body, servers.signed(body), target=target)).status == 404


def test_one_connection_carries_good_and_bad_deliveries_in_turn(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    statuses = []
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for body in (deliveries.task_body(), b"no json", b'{"event_type": "task_started"}', deliveries.task_body()):
            connection.sendall(servers.request_bytes(body, servers.signed(body)))
            statuses.append(int(connection.recv(65536).split(b" ", 2)[1]))
            time.sleep(0.01)

    assert statuses == [200, 400, 422, 200]
