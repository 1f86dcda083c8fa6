"""The six steps of the guide, each from what the ones before it found to the data of its webhook."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final

from morag_client.testing.pipeline.analysis import language_of, summary_of, title_of, topics_of
from morag_client.testing.pipeline.chunks import STRATEGY, chunk
from morag_client.testing.pipeline.document import Document
from morag_client.testing.pipeline.formats import convert as to_markdown, media_type
from morag_client.testing.pipeline.formats.converted import Stated
from morag_client.testing.pipeline.graph import Graph, extract_graph

Elapsed = Callable[[], float]
_TOP_ENTITIES: Final = 5


@dataclass(slots=True)
class Work:
    """A document on its way through the steps: what they have found, and the artefacts they left, by file name."""

    document: Document
    task_id: str
    markdown: str = ""
    text: str = ""
    stated: Stated = field(default_factory=Stated)
    language: str = "unknown"
    chunks: list[str] = field(default_factory=list)
    graph: Graph = field(default_factory=lambda: Graph((), (), ()))
    artefacts: dict[str, bytes] = field(default_factory=dict)

    def keep(self, filename: str, content: str) -> str:
        """Keeps an artefact and tells the path it is served at."""
        self.artefacts[filename] = content.encode()
        return f"/api/files/temp/{self.task_id}/{filename}"


def convert(work: Work, elapsed: Elapsed) -> dict[str, Any]:
    """Markdown conversion. Raises StepFailure for what cannot be converted."""
    converted = to_markdown(work.document)
    work.markdown, work.text, work.stated = converted.markdown, converted.text or "", converted.stated
    return {
        "markdown_file_url": work.keep("markdown.md", work.markdown),
        "conversion_metadata": {
            "original_format": work.document.format,
            "file_size_bytes": len(work.document.content),
            "content_length": len(work.markdown),
            "page_count": work.stated.pages,
            "conversion_time_seconds": elapsed(),
        },
    }


def extract_metadata(work: Work, _elapsed: Elapsed) -> dict[str, Any]:
    """Metadata extraction: what the document says of itself, and what can be told from it."""
    stated = work.stated
    work.language = stated.language or language_of(work.text)
    metadata = {
        "title": stated.title or title_of(work.text, filename=work.document.filename),
        "author": stated.author,
        "creation_date": stated.created,
        "format": media_type(work.document),
        "language": work.language,
        "page_count": stated.pages,
        "file_size_bytes": len(work.document.content),
    }
    return {
        "metadata_file_url": work.keep("metadata.json", _json(metadata)),
        "metadata": metadata,
        "file_properties": {"filename": work.document.filename, "modification_date": stated.modified},
    }


def analyse(work: Work, elapsed: Elapsed) -> dict[str, Any]:
    """Content processing: what the document is about."""
    return {
        "summary": summary_of(work.text),
        "content_length": len(work.markdown),
        "language": work.language,
        "detected_topics": topics_of(work.text),
        "processing_time_seconds": elapsed(),
    }


def cut(work: Work, _elapsed: Elapsed) -> dict[str, Any]:
    """Chunking."""
    work.chunks = chunk(work.text)
    sizes = [len(text) for text in work.chunks]
    listed = [{"index": place, "size": len(text), "text": text} for place, text in enumerate(work.chunks)]
    return {
        "chunks_created": len(sizes),
        "chunking_strategy": STRATEGY,
        "average_chunk_size": round(sum(sizes) / max(1, len(sizes))),
        "chunk_size_range": {"min": min(sizes, default=0), "max": max(sizes, default=0)},
        "chunks_file_url": work.keep("chunks.json", _json(listed)),
    }


def relate(work: Work, elapsed: Elapsed) -> dict[str, Any]:
    """Graph extraction."""
    work.graph = extract_graph(work.text)
    return {
        "entities_extracted": len(work.graph.entities),
        "relations_extracted": len(work.graph.relations),
        "facts_extracted": len(work.graph.facts),
        "top_entities": [asdict(entity) for entity in work.graph.entities[:_TOP_ENTITIES]],
        "extraction_time_seconds": elapsed(),
    }


def store(work: Work, elapsed: Elapsed) -> dict[str, Any]:
    """Ingestion: one embedding a chunk, one node an entity, one relationship a relation."""
    chunks, entities, relations = len(work.chunks), len(work.graph.entities), len(work.graph.relations)
    return {
        "embeddings_stored": chunks,
        "chunks_ingested": chunks,
        "facts_stored": len(work.graph.facts),
        "entities_stored": entities,
        "relations_stored": relations,
        "database_collection": _collection(work),
        "processing_time_seconds": elapsed(),
        "storage_summary": {"qdrant_points": chunks, "neo4j_nodes": entities, "neo4j_relationships": relations},
    }


def result_of(work: Work, elapsed: Elapsed) -> dict[str, Any]:
    """What the whole task produced."""
    return {
        "embeddings_stored": len(work.chunks),
        "chunks_created": len(work.chunks),
        "facts_extracted": len(work.graph.facts),
        "processing_time_seconds": elapsed(),
        "database_collection": _collection(work),
        "total_text_length": len(work.markdown),
    }


PERFORM: Final[Mapping[str, Callable[[Work, Elapsed], dict[str, Any]]]] = MappingProxyType(
    {
        "markdown_conversion": convert,
        "metadata_extraction": extract_metadata,
        "content_processing": analyse,
        "chunking": cut,
        "graph_extraction": relate,
        "ingestion": store,
    }
)


def _collection(work: Work) -> str:
    return str(work.document.metadata.get("collection_name") or f"documents_{work.language}")


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2)
