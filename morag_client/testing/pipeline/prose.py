"""Markdown taken apart into plain sentences and words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_FENCED = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[([^\[\]\n]*)(?<!\\)\]\([^()\n]*\)")
_LINE_MARK = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+][ \t]+|\d{1,3}[.)][ \t]+)", re.MULTILINE)
_EMPHASIS = re.compile(r"(?<!\\)[*`~]+|(?<!\w)_+|_+(?!\w)")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_TABLE_RULE = re.compile(r"[|\s:-]+")
_CELLS_END = re.compile(r"(?<!\\)\|")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+)$", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]»”]*\s+(?=[^a-z\s])")
_WORD = re.compile(r"[^\W\d_][\w'\N{RIGHT SINGLE QUOTATION MARK}-]*")

STOPWORDS: Final = {
    "en": "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they"
    " which one you were all her she there would their we him been has when who will no more if out so up said what its"
    " about than into them can only other time new some could these two may first then do any like my now over such our"
    " how nothing nobody something also each every after before because both does very most where while same"
    " without them those",
    "de": "der die das und in zu den ist nicht von sie mit dem des ein eine auf für im es als auch an werden aus er hat"
    " dass wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch",
    "fr": "le la les de des et à un une du en est que dans qui pour pas au sur ne se plus par avec il sont ce cette"
    " mais comme ou nous être aux ont elle leur ses son fait été sans même aussi",
    "es": "el la los las de y a en que un una del se por con no para es al lo como más su sus o pero fue este ha sí"
    " porque esta entre cuando muy sin sobre también me hasta hay donde quien desde",
    "it": "il la di che e è un una per in non del sono con si da come le dei nel alla più anche gli della lo ma al dal"
    " questo ha delle nella tra essere stato",
    "nl": "de het een en van in is dat op te zijn met voor niet aan er om ook als dan maar bij uit door naar nog wordt"
    " werd worden heeft deze over tot",
    "pt": "o a os as de e do da em um uma que não para com por se dos das no na mais como foi ao ele ela são também"
    " pelo pela até isso entre depois sem mesmo",
}
"""The most frequent words of a language: what tells languages apart, and what no topic is made of."""

FUNCTION_WORDS: Final = frozenset(word for words in STOPWORDS.values() for word in words.split())


def headings(markdown: str) -> list[str]:
    """The text of every heading, without its marks."""
    return [_unmarked(heading).rstrip("# \t").strip() for heading in _HEADING.findall(_FENCED.sub("", markdown))]


def paragraphs(markdown: str) -> list[str]:
    """The blocks between blank lines, as they stand."""
    return [block.strip("\n") for block in re.split(r"\n[ \t]*\n", markdown) if block.strip()]


def is_table(block: str) -> bool:
    """Whether a block is made of table rows."""
    return block.startswith("| ") and "\n" in block


def sentences(markdown: str) -> list[str]:
    """The sentences of the running text: no headings, no code."""
    return list(_sentences(_HEADING.sub("", _FENCED.sub("", markdown))))


def split_sentences(text: str) -> list[str]:
    """A paragraph's sentences, with their marks, in order."""
    return [sentence for sentence in _SENTENCE_END.split(text) if sentence.strip()]


def words(text: str) -> list[str]:
    """The words as they are written."""
    return _WORD.findall(text)


def _sentences(markdown: str) -> Iterator[str]:
    for block in paragraphs(markdown):
        stated = _rows(block) if is_table(block) else split_sentences(_unmarked(block))
        for sentence in stated:
            flat = " ".join(sentence.split())
            if flat:
                yield flat


def _rows(table: str) -> Iterator[str]:
    """A row says its cells, one after the other."""
    for line in table.split("\n"):
        if not _TABLE_RULE.fullmatch(line):
            cells = (" ".join(_unmarked(cell).split()) for cell in _CELLS_END.split(line))
            yield ", ".join(cell for cell in cells if cell)


def _unmarked(markdown: str) -> str:
    return _ESCAPED.sub(r"\1", _EMPHASIS.sub("", _LINE_MARK.sub("", _LINK.sub(r"\1", markdown))))
