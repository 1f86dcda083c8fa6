"""What MoRAG's calls take: the JSON of their bodies and the fields of their forms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from morag_client.testing.bodies import Json

SourceType = Literal["document", "audio", "video", "image", "web", "youtube"]
Stage = Literal["markdown-conversion", "markdown-optimizer", "chunker", "fact-generator", "ingestor"]
_ANSWERED: Final = ("type", "loc", "msg")


def _speakable(value: Mapping[str, Any]) -> Mapping[str, Any]:
    # What cannot be said in JSON again (NaN, half a surrogate pair) could not be echoed.
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    return value


def _absent(value: object) -> object:
    return None if value == "" else value


Object = Annotated[dict[str, Any], AfterValidator(_speakable)]
ANY_OBJECT: Final = TypeAdapter(Object)
Optional = BeforeValidator(_absent)
"""An empty form field says nothing."""


class Request(BaseModel):
    """What nobody knows is left alone, as FastAPI does."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class WebhookConfig(Request):
    """Where to tell; `headers`, `retry_count` and `timeout` are r3's, and the retries are never made."""

    url: str
    auth_token: Annotated[str | None, Optional] = None
    headers: dict[str, str] | None = None
    retry_count: int = 3
    timeout: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 30


class FileForm(Request):
    """The fields of `ingest/file` in r1 and the guide."""

    source_type: Annotated[SourceType | None, Optional] = None
    webhook_url: Annotated[str | None, Optional] = None
    metadata: Object | None = None


class FileRequest(FileForm):
    """`request_data` of `ingest/file` in r2."""

    document_id: str | None = None
    collection_name: str | None = None


class UrlRequest(FileRequest):
    """The body of `ingest/url`."""

    url: str


class BatchItem(Request):
    """One document of a batch."""

    url: str
    source_type: Annotated[SourceType | None, Optional] = None
    metadata: Object | None = None
    document_id: str | None = None


class BatchRequest(Request):
    """The body of `ingest/batch`."""

    items: list[BatchItem]
    webhook_url: Annotated[str | None, Optional] = None


class ProcessRequest(Request):
    """`request_data` of `/api/v1/process`."""

    mode: Literal["convert", "process", "ingest"]
    source_type: Literal["file", "url", "batch"] = "file"
    url: str | None = None
    items: list[BatchItem] | None = None
    document_id: str | None = None
    replace_existing: bool = False
    processing_options: Object | None = None
    database_config: Object | None = None
    webhook_config: WebhookConfig | None = None
    metadata: Object | None = None


class StageRequest(Request):
    """The JSON of r3's `stages/{stage}/execute`, or its form."""

    input_files: list[str] | None = None
    config: Object | None = None
    webhook_config: WebhookConfig | None = None
    skip_if_exists: bool = True


class ChainRequest(Request):
    """The JSON of r3's `stages/chain`, or its form."""

    stages: Annotated[list[Stage], Field(min_length=1, max_length=50)]
    input_files: list[str] | None = None
    global_config: Object | None = None
    stage_configs: Object | None = None
    webhook_config: WebhookConfig | None = None
    stop_on_failure: bool = True
    skip_existing: bool = True


AnyRequest = TypeVar("AnyRequest", bound=Request)


def problems(error: ValidationError, *where: str) -> list[Json]:
    """What is wrong, as FastAPI lists it, with the place where it was found."""
    listed = error.errors(include_url=False, include_context=False, include_input=False)
    return [{name: [*where, *one["loc"]] if name == "loc" else one[name] for name in _ANSWERED} for one in listed]


def sentence(error: ValidationError) -> str:
    """What is wrong, in one line."""
    return "; ".join(f"{'.'.join(map(str, one['loc'][1:])) or 'it'}: {one['msg']}" for one in problems(error, "body"))
