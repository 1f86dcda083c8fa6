"""Entities, relations and facts, by rules that a reader can check by hand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from morag_client.testing.pipeline.prose import FUNCTION_WORDS, headings, sentences, words

_PROCESS_ENDINGS: Final = ("ation", "ations", "ction", "ctions", "ing", "ment")
_STATING: Final = frozenset(
    {"is", "are", "was", "were", "has", "have", "means", "can", "ist", "sind", "est", "son", "es"}
)
_TECHNOLOGY = re.compile(r"[A-Z]{2,}s?|\w*[a-z][A-Z]\w*|[A-Za-z]+\d[\w-]*")
_SHORTEST_NAME: Final = 3
_SHORTEST_CONCEPT: Final = 6
_SHORTEST_PROCESS: Final = 8
_MENTIONS_OF_A_CONCEPT: Final = 3


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that the text speaks of; `type` is Technology, Name, Process or Concept."""

    name: str
    type: str
    mentions: int


@dataclass(frozen=True, slots=True)
class Graph:
    """Entities by mentions, the pairs that follow each other in a sentence, the sentences that state something."""

    entities: tuple[Entity, ...]
    relations: tuple[tuple[str, str], ...]
    facts: tuple[str, ...]


def extract_graph(text: str) -> Graph:
    """The graph of a text.

    Entities are acronyms and mixed-case words (Technology), words capitalised within a sentence (Name), and long
    words that recur (Process by their ending, else Concept).
    """
    said = sentences(text)
    types = _types(said, Counter(map(_key, words("\n".join([*headings(text), *said])))))
    mentions: Counter[str] = Counter()
    relations: dict[tuple[str, str], None] = {}
    facts: list[str] = []
    for sentence in said:
        here = [key for key in map(_key, words(sentence)) if key in types]
        mentions.update(here)
        relations.update(dict.fromkeys(_pairs(here, types)))
        if here and not _STATING.isdisjoint(word.lower() for word in words(sentence)):
            facts.append(sentence)
    found = [Entity(_shown(key, types), types[key], count) for key, count in mentions.items()]
    found.sort(key=lambda entity: (-entity.mentions, entity.name))
    return Graph(tuple(found), tuple(relations), tuple(facts))


def _pairs(keys: Sequence[str], types: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    labels = dict.fromkeys(_shown(key, types) for key in keys)
    return ((min(pair), max(pair)) for pair in pairwise(labels))


def _types(said: Sequence[str], counts: Counter[str]) -> dict[str, str]:
    types: dict[str, str] = {}
    for sentence in said:
        for place, word in enumerate(words(sentence)):
            key = _key(word)
            if _TECHNOLOGY.fullmatch(key):
                types[key] = "Technology"
            elif place and word[0].isupper() and len(key) >= _SHORTEST_NAME and key not in FUNCTION_WORDS:
                types.setdefault(key, "Name")
    for key, count in counts.items():
        if count >= _MENTIONS_OF_A_CONCEPT and len(key) >= _SHORTEST_CONCEPT and key not in FUNCTION_WORDS:
            process = len(key) >= _SHORTEST_PROCESS and key.endswith(_PROCESS_ENDINGS)
            types.setdefault(key, "Process" if process else "Concept")
    return types


def _key(word: str) -> str:
    bare = word.removesuffix("'s").removesuffix("\N{RIGHT SINGLE QUOTATION MARK}s")
    return bare if _TECHNOLOGY.fullmatch(bare) else bare.lower()


def _shown(key: str, types: Mapping[str, str]) -> str:
    return key.capitalize() if types[key] == "Name" else key
