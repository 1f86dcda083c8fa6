"""Downloads that break, change, lie or lead elsewhere: both clients, on a socket."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from both_clients import KINDS, Kind, calling
from scripted import Asked, Scene, head, reset, says, scripted, sends

from morag_client import ConfigurationError, NotFound, NotSupported, NotUnderstood, Unreachable
from morag_client.api.addresses import address
from morag_client.api.keeping import plain_name

CONTENT = bytes(range(256)) * 4000
URL = "/api/files/temp/t/markdown.md"
both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MORAG_API_URL", "MORAG_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def fetched(kind: Kind, url: str, to: Path, source: str = URL, **options: Any) -> Any:
    options = {"api_version": "r1", "attempts": 4, **options}
    return calling(kind, url, lambda client: client.download(source, to=to), **options)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def whole(content: bytes = CONTENT, *, upto: int | None = None, **headers: str) -> Scene:
    return sends(head(200, content_length=str(len(content)), **headers) + content[:upto])


def part(content: bytes = CONTENT, *, upto: int | None = None, **headers: str) -> Scene:
    """The range that is asked for."""

    def scene(connection: socket.socket, asked: Asked) -> None:
        first = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
        told = {"content-range": f"bytes {first}-{len(content) - 1}/{len(content)}", **headers}
        told = {name.replace("_", "-"): value for name, value in told.items()}
        sends(head(206, content_length=str(len(content) - first), **told) + content[first:upto])(connection, asked)

    return scene


@both
def test_a_break_is_gone_on_from(kind: Kind, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with scripted(whole(upto=300_000, etag='"a"'), part(upto=700_000, etag='"a"'), part(etag='"a"')) as server:
        place = calling(
            kind,
            server.url,
            lambda client: client.download(URL, to=tmp_path, on_progress=lambda *far: told.append(far)),
            api_version="r1",
        )

    assert place == tmp_path / "markdown.md"
    assert place.read_bytes() == CONTENT
    assert [one.headers.get("range") for one in server.asked] == [None, "bytes=300000-", "bytes=700000-"]
    assert server.asked[1].headers["if-range"] == '"a"'
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert names_in(tmp_path) == ["markdown.md"]


@both
@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (whole(), CONTENT),  # Range is not honoured
        (whole(b"another"), b"another"),  # it has changed, If-Range says so
        (part(b"x" * 999_999), b"fresh"),  # it is shorter now
        (part(b"x" * 2_000_000), b"fresh"),  # it is longer now
        (sends(head(206, content_length="724000", content_range="bytes 0-723999/1024000") + b"x" * 724_000), b"fresh"),
        (part(etag='"b"'), b"fresh"),  # another tag
        (says({"detail": "no such range"}, 416), b"fresh"),
        (sends(head(206, content_length="3", content_range="bytes 5-7/1024000") + b"abc"), b"fresh"),
        (sends(head(206, content_length="3", content_range="lines 5-7") + b"abc"), b"fresh"),
        (sends(head(206, content_length="3") + b"abc"), b"fresh"),
    ],
)
def test_what_came_is_never_put_together_with_another(
    kind: Kind, second: Scene, expected: bytes, tmp_path: Path
) -> None:
    with scripted(whole(upto=300_000, etag='"a"'), second, whole(b"fresh")) as server:
        place = fetched(kind, server.url, tmp_path)

    assert place.read_bytes() == expected


@both
def test_a_server_may_give_less_at_once_than_is_asked_for(kind: Kind, tmp_path: Path) -> None:
    def some(first: int, last: int) -> Scene:
        told = f"bytes {first}-{last - 1}/{len(CONTENT)}"
        return sends(head(206, content_length=str(last - first), content_range=told) + CONTENT[first:last])

    with scripted(whole(upto=300_000), some(300_000, 600_000), some(600_000, 900_000), part()) as server:
        place = fetched(kind, server.url, tmp_path)

    assert place.read_bytes() == CONTENT


@both
def test_into_memory_it_goes_on_as_well(kind: Kind) -> None:
    with scripted(whole(upto=300_000), part()) as server:
        content = calling(kind, server.url, lambda client: client.download_bytes(URL), api_version="r1")

    assert content == CONTENT


@both
@pytest.mark.parametrize("scene", [whole(), sends(head(200), CONTENT)])
def test_memory_has_a_bound(kind: Kind, scene: Scene) -> None:
    with scripted(scene) as server, pytest.raises(NotUnderstood, match="max_bytes=1000"):
        calling(kind, server.url, lambda client: client.download_bytes(URL, max_bytes=1000), api_version="r1")


@both
@pytest.mark.parametrize(
    ("scene", "error"),
    [
        (whole(upto=10), Unreachable),
        (reset, Unreachable),
        (sends(head(200, content_length="100"), b"short"), Unreachable),
        (says({"detail": "File not found"}, 404), NotFound),
        (says({"detail": "no such range"}, 416), Exception),
        (sends(head(206, content_range="bytes 0-1/2"), b"ab"), Unreachable),
        (whole(content_encoding="gzip"), NotUnderstood),
    ],
)
def test_what_fails_leaves_nothing(kind: Kind, scene: Scene, error: type[Exception], tmp_path: Path) -> None:
    there = tmp_path / "markdown.md"
    there.write_text("old")
    with scripted(scene) as server, pytest.raises(error):
        fetched(kind, server.url, tmp_path, attempts=2)

    assert there.read_text() == "old"
    assert names_in(tmp_path) == ["markdown.md"]


@both
def test_an_error_of_the_progress_callback_leaves_nothing(kind: Kind, tmp_path: Path) -> None:
    def fails(_got: int, _total: int) -> None:
        raise LookupError("mine")

    with scripted(whole()) as server, pytest.raises(LookupError):
        calling(
            kind,
            server.url,
            lambda client: client.download(URL, to=tmp_path, on_progress=fails),
            api_version="r1",
        )

    assert names_in(tmp_path) == []


@both
def test_a_link_in_its_place_is_replaced_and_not_followed(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "markdown.md").symlink_to(tmp_path / "outside")
    with scripted(whole(b"new")) as server:
        place = fetched(kind, server.url, tmp_path / "to")

    assert (tmp_path / "outside").read_text() == "mine"
    assert stat.S_ISREG(place.lstat().st_mode)


@both
def test_a_redirect_on_the_same_server_is_followed(kind: Kind, tmp_path: Path) -> None:
    with scripted(says(b"", 307, location="/morag/api/files/other.md?x=1"), whole(b"moved")) as server:
        place = fetched(kind, f"{server.url}/morag", tmp_path / "here.md")

    assert place.read_bytes() == b"moved"
    assert server.targets == ["/morag" + URL, "/morag/api/files/other.md?x=1"]


@both
@pytest.mark.parametrize("location", ["{other}/x", "//127.0.0.1:9/x", "http://127.0.0.1.evil.example/", "ftp://x/"])
def test_a_redirect_to_elsewhere_is_not(kind: Kind, location: str, tmp_path: Path) -> None:
    with (
        scripted(whole(b"stolen")) as other,
        scripted(says(b"", 302, location=location.format(other=other.url))) as server,
    ):
        with pytest.raises(ConfigurationError, match="the API key is sent nowhere else"):
            fetched(kind, server.url, tmp_path, api_key="k3y-0f-mine")
        assert other.asked == []
    assert names_in(tmp_path) == []


@both
def test_redirects_come_to_an_end(kind: Kind, tmp_path: Path) -> None:
    with scripted(says(b"", 302, location="/again")) as server, pytest.raises(NotUnderstood, match="again and again"):
        fetched(kind, server.url, tmp_path)

    assert len(server.asked) == 5


@both
def test_a_url_of_another_origin_is_refused_before_anything_is_sent(kind: Kind, tmp_path: Path) -> None:
    with scripted(whole()) as other, scripted(whole()) as server:
        for source in (f"{other.url}{URL}", server.url.replace("http:", "https:") + URL, "//127.0.0.1/x", "\\\\a\\b/c"):
            with pytest.raises(ConfigurationError, match="nowhere else"):
                fetched(kind, server.url, tmp_path, source=source, api_key="k3y-0f-mine")
        assert other.asked == server.asked == []


def test_a_download_by_id_is_not_in_r3_and_by_url_is() -> None:
    with scripted(whole(b"x")) as server:
        with pytest.raises(NotSupported, match=r"client\.files"):
            calling("sync", server.url, lambda client: client.download_bytes("t", "a.md"), api_version="r3")
        assert calling("sync", server.url, lambda client: client.download_bytes("/a/b.md"), api_version="r3") == b"x"


def test_an_id_alone_names_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name of a file"):
        fetched("sync", "http://127.0.0.1:9", tmp_path, source="t-1")


@pytest.mark.parametrize(
    ("place", "asked"),
    [
        ("/api/files/x", "/api/files/x"),
        ("api/files/x", "/api/files/x"),
        ("/api/files/x?a=b#c", "/api/files/x?a=b"),
        ("HTTP://Morag.example:80/x", "HTTP://Morag.example:80/x"),
    ],
)
def test_what_is_asked(place: str, asked: str) -> None:
    assert address("http://morag.example", place) == asked


@pytest.mark.parametrize(
    "place",
    [
        "http://morag.example:81/x",
        "https://morag.example/x",
        "http://user@morag.example/x",
        "http://morag.example@evil.example/x",
        "http://morag.example.evil.example/x",
        "//evil.example/x",
        "/\\evil.example/x",
        "javascript:alert(1)",
        "http://[::1",
        "/a/../b",
        "/a/%2e%2e/b",
        "/a/..%2fb",
        "..",
    ],
)
def test_what_is_not_asked(place: str) -> None:
    with pytest.raises(ConfigurationError):
        address("http://morag.example", place)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/api/files/temp/t/markdown.md", "markdown.md"),
        ("/a/b.md?x=/../etc/passwd", "b.md"),
        ("/a/..%2f..%2fetc%2fpasswd", "passwd"),
        ("a\\..\\..\\boot.ini", "boot.ini"),
        ("/a/..", "download"),
        ("/a/%00", "_"),
        ("/a/.bashrc", "bashrc"),
        ("/", "download"),
        ("/a/%E2%80%AEgpj.exe", "_gpj.exe"),
        ("/a/" + "ä" * 300, "ä" * 100),
    ],
)
def test_a_name_cannot_lead_elsewhere(source: str, name: str) -> None:
    assert plain_name(source) == name


@both
def test_a_folder_that_is_not_there_is_made(kind: Kind, tmp_path: Path) -> None:
    with scripted(whole()) as server:
        places = [
            calling(
                kind,
                server.url,
                lambda client, name=name: client.download("t-1", name, to=f"{tmp_path}/new/deep/"),
                api_version="r1",
            )
            for name in ("a.json", "b.json")
        ]

    assert [place.relative_to(tmp_path) for place in places] == [Path("new/deep/a.json"), Path("new/deep/b.json")]
    assert [place.read_bytes() for place in places] == [CONTENT, CONTENT]
