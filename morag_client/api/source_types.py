"""What kind of source a file or a URL is, by its name."""

from __future__ import annotations

import mimetypes
from pathlib import PurePath
from typing import Final
from urllib.parse import urlsplit

_SUFFIXES: Final = {
    "audio": "aac aiff alac amr flac m4a m4b mka mp3 oga ogg opus wav weba wma",
    "video": "3gp avi flv m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv",
    "image": "avif bmp gif heic heif jpe jpeg jpg png svg tif tiff webp",
}
_BY_SUFFIX: Final = {f".{suffix}": kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_YOUTUBE: Final = ("youtube.com", "youtu.be", "youtube-nocookie.com")


def source_type_of_file(name: str) -> str:
    """`audio`, `video`, `image`, else `document`; the same on every machine for what is usual."""
    suffix = PurePath(name).suffix.lower()
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    family = (mimetypes.guess_type(name)[0] or "").partition("/")[0]
    return family if family in _SUFFIXES else "document"


def source_type_of_url(url: str) -> str:
    """`youtube` or `web`."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return "web"
    return "youtube" if any(host == name or host.endswith(f".{name}") for name in _YOUTUBE) else "web"
