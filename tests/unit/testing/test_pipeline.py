"""The text pipeline: what it finds is in the text, and its numbers agree with each other."""

from __future__ import annotations

import html
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from documents import docx, pdf
from hypothesis import given, settings, strategies as st

from morag_client.testing.moments import Moment
from morag_client.testing.pipeline.analysis import language_of, summary_of, title_of, topics_of
from morag_client.testing.pipeline.chunks import chunk
from morag_client.testing.pipeline.document import Document
from morag_client.testing.pipeline.durations import realistic_seconds, realistic_total
from morag_client.testing.pipeline.formats import page_count
from morag_client.testing.pipeline.formats.plain import front_matter
from morag_client.testing.pipeline.graph import extract_graph
from morag_client.testing.pipeline.running import Plan, run
from morag_client.testing.pipeline.steps import Work
from morag_client.testing.sample import sample_document

TIDES = """# Tides

The tide is the rise and fall of the sea. Twice a day the tide rises in Saint-Malo, and twice a day it falls.
NOAA measures the tide with a gauge, and NOAA publishes a table of the tide for every harbour.

## Spring tides

When the Moon and the Sun pull together, a spring tide rises. A spring tide has nothing to do with the season.
"""


def worked(document: Document, **plan: Any) -> tuple[list[Moment], Work]:
    work = Work(document, "task-1")
    return list(run(work, clock=time.perf_counter, plan=Plan(**plan))), work


def data_of(moments: list[Moment], name: str) -> dict[str, Any]:
    (found,) = [moment for moment in moments if moment.name == name]
    return dict(found.data or found.result or {})


def test_the_numbers_agree_across_the_steps() -> None:
    moments, work = worked(sample_document())
    chunking, graph, ingestion, result = (
        data_of(moments, name)
        for name in ("chunking.completed", "graph_extraction.completed", "ingestion.completed", "task.completed")
    )
    chunks = json.loads(work.artefacts["chunks.json"])

    assert chunking["chunks_created"] == ingestion["chunks_ingested"] == result["chunks_created"] == len(chunks) > 3
    assert graph["entities_extracted"] == ingestion["entities_stored"] == ingestion["storage_summary"]["neo4j_nodes"]
    assert graph["relations_extracted"] == ingestion["storage_summary"]["neo4j_relationships"]
    assert graph["facts_extracted"] == ingestion["facts_stored"] == result["facts_extracted"]
    assert ingestion["embeddings_stored"] == result["embeddings_stored"] == len(chunks)
    sizes = [len(entry["text"]) for entry in chunks]
    assert chunking["chunk_size_range"] == {"min": min(sizes), "max": max(sizes)}
    assert chunking["average_chunk_size"] == round(sum(sizes) / len(sizes))


def test_another_document_has_other_numbers() -> None:
    short, _ = worked(Document("tides.md", TIDES.encode()))
    long, _ = worked(sample_document())

    for name, key in [("chunking.completed", "chunks_created"), ("graph_extraction.completed", "entities_extracted")]:
        assert data_of(short, name)[key] < data_of(long, name)[key]


def test_the_artefacts_are_what_the_data_names() -> None:
    moments, work = worked(Document("tides.md", TIDES.encode()))

    named = [
        data_of(moments, "markdown_conversion.completed")["markdown_file_url"],
        data_of(moments, "metadata_extraction.completed")["metadata_file_url"],
        data_of(moments, "chunking.completed")["chunks_file_url"],
    ]
    assert named == [f"/api/files/temp/task-1/{name}" for name in work.artefacts]
    assert work.artefacts["markdown.md"].decode() == TIDES
    assert json.loads(work.artefacts["metadata.json"])["title"] == "Tides"


def test_the_sample_says_who_wrote_it() -> None:
    moments, _ = worked(sample_document())
    metadata = data_of(moments, "metadata_extraction.completed")["metadata"]

    assert metadata["title"] == "How a Lighthouse Keeps Its Character"
    assert metadata["author"]
    assert metadata["creation_date"] == "2025-11-03"
    assert (metadata["language"], metadata["format"]) == ("en", "text/markdown")
    assert metadata["file_size_bytes"] == len(sample_document().content)


@pytest.mark.parametrize("name", ["report.pptx", "clip.mp4", "README", "archive.tar.gz"])
def test_what_is_no_text_is_an_unsupported_format(name: str) -> None:
    moments, _ = worked(Document(name, b"\x00\x01binary"))

    assert [moment.name for moment in moments] == [
        "task.started",
        "markdown_conversion.started",
        "markdown_conversion.failed",
        "task.failed",
    ]
    failed = moments[-2]
    assert failed.data is not None
    assert failed.data["error_code"] == "UNSUPPORTED_FORMAT"
    assert name.endswith(str(failed.data["attempted_format"]))
    assert "md" in failed.data["supported_formats"]
    assert failed.progress == 10.0
    assert moments[-1].error_details == {
        "stage": "markdown_conversion",
        "step": "markdown_conversion",
        "error_code": "UNSUPPORTED_FORMAT",
    }


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n", b"\xef\xbb\xbf"])
def test_a_document_without_text_fails(content: bytes) -> None:
    moments, _ = worked(Document("empty.txt", content))

    assert moments[-1].name == "task.failed"
    assert moments[-1].error_details is not None
    assert moments[-1].error_details["error_code"] == "EMPTY_DOCUMENT"


@given(content=st.binary(max_size=2000), name=st.sampled_from(["a.txt", "a.md"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_come_to_an_end(content: bytes, name: str) -> None:
    moments, work = worked(Document(name, content))

    assert moments[-1].ends_task
    json.dumps([dict(moment.data or {}) for moment in moments], allow_nan=False)
    assert all(0 < len(text) <= 600 for text in work.chunks)


@given(text=st.text(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_chunks_lose_nothing_but_space(text: str) -> None:
    assert "".join("".join(chunk(text, size=100)).split()) == "".join(text.split())


def test_a_megabyte_takes_seconds_at_most() -> None:
    began = time.perf_counter()
    moments, _ = worked(Document("long.txt", (TIDES * 2500).encode()))

    assert moments[-1].name == "task.completed"
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize(
    "hostile",
    [
        "a" * 300_000,
        "# " * 100_000,
        "`" * 200_000,
        "[" * 200_000,
        ". " * 100_000,
        "\n \n" * 80_000,
        "_" * 200_000,
        "# a" + " " * 200_000 + "b",
        "." + ")" * 100_000,
        "```\n" * 50_001 + "~~~",
        "a.  " * 80_000,
        "aB" * 150_000,
        "- " * 100_000,
        " ".join(f"A{number}" for number in range(30_000)),
    ],
    ids=lambda text: repr(text[:4]),
)
def test_hostile_texts_do_not_take_for_ever(hostile: str) -> None:
    began = time.perf_counter()
    worked(Document("hostile.md", hostile.encode()))

    assert time.perf_counter() - began < 10


def test_times_are_the_clocks() -> None:
    ticks = iter(range(10_000))
    moments = list(run(Work(Document("a.txt", b"Some text."), "t"), clock=lambda: float(next(ticks))))

    completed = [moment for moment in moments if moment.name.endswith("completed")]
    assert all(moment.seconds > 0 for moment in completed)
    assert completed[-1].seconds > max(moment.seconds for moment in completed[:-1])


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The sea is what the moon makes of it, and it has been so for ever.", "en"),
        ("Das Meer ist das, was der Mond aus ihm macht, und so ist es auch für uns.", "de"),
        ("La mer est ce que la lune fait de la mer, et elle est pour nous dans le ciel.", "fr"),
        ("El mar es lo que la luna hace de las aguas, y por eso no se sabe más de él.", "es"),
        ("xyzzy plugh 12345", "unknown"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert language_of(text) == language


def test_topics_are_what_recurs() -> None:
    topics = topics_of(TIDES)

    assert topics[0] in {"tide", "spring tide"}
    assert all(word in TIDES.lower() for topic in topics for word in topic.split())


def test_the_summary_is_made_of_the_texts_sentences() -> None:
    summary = summary_of(TIDES)

    assert 0 < len(summary) <= 320
    assert all(sentence.strip(". ") in " ".join(TIDES.split()) for sentence in summary.split(". "))
    assert "#" not in summary


def test_titles() -> None:
    assert title_of(TIDES, filename="x.md") == "Tides"
    assert title_of("A short first line\n\nand more.", filename="x.txt") == "A short first line"
    assert title_of("A sentence that ends.", filename="notes-2025.txt") == "notes-2025"
    for marked in ("| name | age |", "- 1\n- 2", "> quoted", "![a picture](x.png)", ""):
        assert title_of(marked, filename="people.csv") == "people"


def test_entities_are_typed_by_what_they_look_like() -> None:
    graph = extract_graph(TIDES)
    types = {entity.name: entity.type for entity in graph.entities}

    assert types["NOAA"] == "Technology"
    assert types["Moon"] == types["Sun"] == "Name"
    assert ("Moon", "Sun") in graph.relations
    assert graph.facts == ("A spring tide has nothing to do with the season.",)


def test_front_matter_is_no_text() -> None:
    stated, text = front_matter('---\ntitle: "T"\nauthor: A B\n---\nBody\n')

    assert stated == {"title": "T", "author": "A B"}
    assert text == "Body\n"
    assert front_matter("Body --- only\n") == ({}, "Body --- only\n")


def test_pages() -> None:
    assert page_count("one page") == 1
    assert page_count("x" * 3001) == 2
    moments, _ = worked(Document("paged.txt", b"one\ftwo\fthree\n"))
    assert data_of(moments, "metadata_extraction.completed")["metadata"]["page_count"] == 3


def test_headings_open_chunks() -> None:
    chunks = chunk(TIDES)

    assert [text.partition("\n")[0] for text in chunks] == ["# Tides", "## Spring tides"]


def test_a_longer_document_takes_longer() -> None:
    assert realistic_seconds("chunking", size_bytes=0) < realistic_seconds("chunking", size_bytes=10**6)
    assert 3 < realistic_total(size_bytes=4000) < 6


FORMATS: dict[str, Callable[[str], bytes]] = {
    "txt": str.encode,
    "md": str.encode,
    "html": lambda text: "".join(f"<p>{html.escape(line)}" for line in text.split("\n")).encode(),
    "csv": lambda text: "\n".join(f'"{line.replace(chr(34), "")}",1' for line in text.split("\n")).encode(),
    "json": lambda text: json.dumps({"title": "T", "lines": text.split("\n")}).encode(),
    "pdf": lambda text: pdf(text.encode("latin-1", "replace").decode("latin-1"), "The second page."),
    "docx": lambda text: docx("# Heading", *text.split("\n")),
}
WORDS = st.sampled_from("the tide rises NOAA Saint-Malo measures gauge is a GPS. Moon! # - | * 12.5 été".split())
TEXTS = st.lists(st.lists(WORDS, max_size=80).map(" ".join), min_size=1, max_size=8).map("\n".join)


@pytest.mark.parametrize("ending", FORMATS)
@given(text=TEXTS)
@settings(max_examples=25, deadline=None)
def test_the_counts_agree_in_every_format(ending: str, text: str) -> None:
    moments, work = worked(Document(f"a.{ending}", FORMATS[ending](f"Begin {text}")))

    steps = {moment.step: moment.data for moment in moments if moment.status == "completed" and moment.data}
    result = moments[-1].result
    assert result is not None
    conversion, chunking, graph, ingestion = (
        steps[step] for step in ("markdown_conversion", "chunking", "graph_extraction", "ingestion")
    )
    chunks = json.loads(work.artefacts["chunks.json"])
    assert chunking["chunks_created"] == ingestion["chunks_ingested"] == result["chunks_created"] == len(chunks) > 0
    assert (
        ingestion["embeddings_stored"] == result["embeddings_stored"] == ingestion["storage_summary"]["qdrant_points"]
    )
    assert graph["entities_extracted"] == ingestion["entities_stored"] == ingestion["storage_summary"]["neo4j_nodes"]
    assert graph["relations_extracted"] == ingestion["relations_stored"]
    assert graph["facts_extracted"] == ingestion["facts_stored"] == result["facts_extracted"]
    markdown = work.artefacts["markdown.md"].decode()
    assert conversion["conversion_metadata"]["content_length"] == steps["content_processing"]["content_length"]
    assert conversion["conversion_metadata"]["content_length"] == len(markdown) == result["total_text_length"]
    metadata = steps["metadata_extraction"]["metadata"]
    assert metadata == json.loads(work.artefacts["metadata.json"])
    assert conversion["conversion_metadata"]["page_count"] == metadata["page_count"] >= 1
    assert [entry["size"] for entry in chunks] == [len(entry["text"]) for entry in chunks]
    assert sum(len("".join(entry["text"].split())) for entry in chunks) == len("".join(markdown.split()))


def test_the_same_file_says_the_same_in_every_process() -> None:
    program = (
        "import json, sys\n"
        "from morag_client.testing.pipeline.document import Document\n"
        "from morag_client.testing.pipeline.running import run\n"
        "from morag_client.testing.pipeline.steps import Work\n"
        "work = Work(Document(sys.argv[1], sys.stdin.buffer.read()), 'task-1')\n"
        "moments = [[moment.name, moment.data, moment.result] for moment in run(work, clock=lambda: 0.0)]\n"
        "print(json.dumps([moments, {name: text.decode() for name, text in work.artefacts.items()}]))\n"
    )
    for ending, made in FORMATS.items():
        content = made(sample_document().content.decode())
        said = {
            subprocess.run(
                [sys.executable, "-c", program, f"a.{ending}"],
                input=content,
                capture_output=True,
                check=True,
                env={**os.environ, "PYTHONHASHSEED": seed},
            ).stdout
            for seed in ("1", "2")
        }
        assert len(said) == 1
        assert b"task.completed" in said.pop()


def test_a_table_is_cut_between_its_rows() -> None:
    rows = "\n".join(f"station {number},{number}.5" for number in range(200))
    moments, work = worked(Document("a.csv", f"name,height\n{rows}".encode()))

    assert len(work.chunks) > 5
    assert all(line.startswith("| ") and line.endswith(" |") for text in work.chunks for line in text.split("\n"))
    summary = data_of(moments, "content_processing.completed")["summary"]
    assert "|" not in summary
    assert "station" in summary


def test_marks_that_were_escaped_are_text_again() -> None:
    _, work = worked(Document("a.html", b"<p>The GPS* is 2 * 3 of [it](x) and NOAA` has it."))

    assert summary_of(work.text) == "The GPS* is 2 * 3 of [it](x) and NOAA` has it."


def test_a_defect_of_ours_is_a_failed_task_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    moments, _ = worked(Document("a.txt", b"Text.", metadata=Unreadable()))

    assert [moment.name for moment in moments[-2:]] == ["ingestion.failed", "task.failed"]
    assert moments[-1].error_details is not None
    assert moments[-1].error_details["error_code"] == "INTERNAL_ERROR"
    assert "ValueError" in caplog.text


class Unreadable(dict[str, Any]):
    def get(self, key: str, default: Any = None) -> Any:
        if key == "collection_name":
            raise ValueError(key)
        return default
