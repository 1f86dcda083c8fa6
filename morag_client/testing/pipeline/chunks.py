"""A text cut into chunks: whole paragraphs where they fit, sentences or table rows where they do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from morag_client.testing.pipeline.prose import is_table, paragraphs, split_sentences

STRATEGY: Final = "paragraph"
CHUNK_CHARACTERS: Final = 600
"""No chunk is longer."""


def chunk(text: str, *, size: int = CHUNK_CHARACTERS) -> list[str]:
    """The text in chunks of at most `size` characters, none of them empty.

    A heading opens a chunk of its own, together with what follows it.
    """
    chunks: list[str] = []
    for piece in (piece for paragraph in paragraphs(text) for piece in _pieces(paragraph, size)):
        joined = f"{chunks[-1]}\n\n{piece}" if chunks else piece
        if chunks and not piece.startswith("#") and len(joined) <= size:
            chunks[-1] = joined
        else:
            chunks.append(piece)
    return chunks


def _pieces(paragraph: str, size: int) -> Iterator[str]:
    if len(paragraph) <= size:
        yield paragraph
        return
    piece = ""
    # A table is cut between its rows.
    between, parts = ("\n", paragraph.split("\n")) if is_table(paragraph) else (" ", split_sentences(paragraph))
    for sentence in parts:
        if len(piece) + 1 + len(sentence) <= size:
            piece = f"{piece}{between}{sentence}".lstrip()
            continue
        if piece:
            yield piece
        *whole, piece = (sentence[start : start + size] for start in range(0, len(sentence), size))
        yield from whole
    if piece:
        yield piece
