"""What a text is about: its language, title, topics and summary, from the frequencies of its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import Final

from morag_client.testing.pipeline.prose import FUNCTION_WORDS, STOPWORDS, headings, sentences, words

_TOPICS: Final = 5
_SUMMARY_CHARACTERS: Final = 320
_SHORTEST_TOPIC: Final = 4
_SHARE_OF_FUNCTION_WORDS: Final = 0.15
_LANGUAGES: Final = {language: frozenset(common.split()) for language, common in STOPWORDS.items()}


def language_of(text: str) -> str:
    """The language whose frequent words make up most of the text, as its ISO 639-1 code; else `unknown`."""
    counts = Counter(word.lower() for word in words(text))
    shares = {
        language: sum(counts[word] for word in common) / max(1, counts.total())
        for language, common in _LANGUAGES.items()
    }
    best = max(shares, key=lambda language: shares[language])
    return best if shares[best] >= _SHARE_OF_FUNCTION_WORDS else "unknown"


def title_of(text: str, *, filename: str) -> str:
    """The first heading, else a short first line, else the file's name."""
    found = headings(text)
    if found:
        return found[0]
    first = text.strip().partition("\n")[0].strip()
    # What begins with a mark is a table, a list, a quotation or a picture.
    says_it = first[:1].isalnum() and len(first) <= 100 and not first.endswith(".")  # noqa: PLR2004
    return first if says_it else PurePath(filename).stem


def topics_of(text: str) -> list[str]:
    """The terms that stand out by frequency, the strongest first: pairs of words that recur, then single words."""
    singles: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for sentence in [*headings(text), *sentences(text)]:
        lowered = [word.lower() for word in words(sentence)]
        singles.update(word for word in lowered if _means_something(word))
        pairs.update(f"{a} {b}" for a, b in pairwise(lowered) if _means_something(a) and _means_something(b))
    # A pair that recurs says more than its two words do alone.
    weights = singles + Counter({pair: 2 * count for pair, count in pairs.items() if count > 1})
    topics: list[str] = []
    for term, _ in sorted(weights.items(), key=lambda item: (-item[1], item[0])):
        if len(topics) < _TOPICS and not any(set(term.split()) & set(topic.split()) for topic in topics):
            topics.append(term)
    return topics


def summary_of(text: str) -> str:
    """The sentences that say most of what recurs in the text, in their own order, within some 300 characters."""
    found = sentences(text)
    counts = Counter(word.lower() for sentence in found for word in words(sentence))
    ranked = sorted(range(len(found)), key=lambda place: -_weight(found[place], counts))
    chosen: list[int] = []
    room = _SUMMARY_CHARACTERS
    for place in ranked:
        if len(found[place]) <= room:
            chosen.append(place)
            room -= len(found[place]) + 1
    if not chosen and found:
        return f"{found[0][: _SUMMARY_CHARACTERS - 1].rstrip()}…"
    return _joined(found, chosen)


def _joined(found: Sequence[str], chosen: Sequence[int]) -> str:
    return " ".join(found[place] for place in sorted(chosen))


def _weight(sentence: str, counts: Counter[str]) -> float:
    telling = [word.lower() for word in words(sentence) if _means_something(word.lower())]
    return sum(counts[word] for word in telling) / (len(telling) + 3)


def _means_something(word: str) -> bool:
    return len(word) >= _SHORTEST_TOPIC and word not in FUNCTION_WORDS
