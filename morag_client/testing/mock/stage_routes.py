"""`/api/v1/stages` of r3: running one stage or several, and how a job stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, get_args

from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from morag_client.events.names import STAGES
from morag_client.testing.bodies import Json, naive
from morag_client.testing.mock.asking import field_json, field_object, fields_of, json_of, missing, uploaded, webhook_to
from morag_client.testing.mock.hosts import AllowedHosts
from morag_client.testing.mock.requests import AnyRequest, ChainRequest, Stage, StageRequest
from morag_client.testing.mock.stage_jobs import Job, Jobs, Outcome, unknown_status
from morag_client.testing.mock.stage_runs import Done, Order, StageRuns
from morag_client.testing.mock.uploads import bounded_form
from morag_client.testing.pipeline.document import Document
from morag_client.testing.pipeline.formats import SUPPORTED_FORMATS

_NAMES: Final = TypeAdapter(list[str])
_STAGES: Final = TypeAdapter(list[Stage])
_INFO: Final[dict[str, tuple[str, Sequence[str], str, Sequence[str]]]] = {
    "markdown-conversion": ("Convert input files to unified markdown format", SUPPORTED_FORMATS, "md", ()),
    "markdown-optimizer": ("Improve the text of the markdown", ("md",), "md", ("markdown-conversion",)),
    "chunker": ("Create summary, chunks and contextual embeddings", ("md",), "json", ("markdown-conversion",)),
    "fact-generator": ("Extract facts, entities, relations and keywords", ("json",), "json", ("chunker",)),
    "ingestor": ("Database ingestion and storage", ("json",), "json", ("chunker", "fact-generator")),
}

_File = tuple[str, bytes] | None


class Stages:
    """The calls that run stages while the caller waits."""

    def __init__(self, *, jobs: Jobs, runs: StageRuns, webhook_hosts: AllowedHosts, max_upload_bytes: int) -> None:
        self._jobs = jobs
        self._runs = runs
        self._webhook_hosts = webhook_hosts
        self._max_upload_bytes = max_upload_bytes

    def routes(self) -> list[Route]:
        """The routes, those with fixed words before the one with a stage's name."""
        return [
            Route("/api/v1/stages/", self.listing),
            Route("/api/v1/stages/status", self.status),
            Route("/api/v1/stages/chain", self.chain, methods=["POST"]),
            Route("/api/v1/stages/execute-all", self.execute_all, methods=["POST"]),
            Route("/api/v1/stages/{stage}/execute", self.execute, methods=["POST"]),
        ]

    async def listing(self, _request: Request) -> Response:
        """The five stages."""
        return JSONResponse({"stages": [_info(stage) for stage in STAGES], "total_count": len(STAGES)})

    async def status(self, request: Request) -> Response:
        """How a job stands; its id is in the paths of its files."""
        job_id = request.query_params.get("job_id")
        job = None if job_id is None else self._jobs.get(job_id)
        return JSONResponse(unknown_status(job_id) if job is None else job.status())

    async def execute(self, request: Request) -> Response:
        """Runs one stage."""
        stage = request.path_params["stage"]
        if stage not in STAGES:
            raise HTTPException(400, f"Invalid stage name: {stage}. Valid stages: {list(STAGES)}")
        stated, file, form_url = await self._asked(request, StageRequest)
        webhook = stated.webhook_config or form_url
        order = Order(
            stages=(stage,),
            is_chain=False,
            config=stated.config or {},
            webhook=webhook_to(webhook, allowed=self._webhook_hosts, named="the webhook's URL"),
            tells_itself=stated.webhook_config is not None,
            is_upload=file is not None,
            skip_existing=stated.skip_if_exists,
        )
        job = self._job(file, stated.input_files)
        done = await run_in_threadpool(self._runs.run, job, order)
        return JSONResponse(_executed(job, done.outcomes[-1], order.config, is_told=done.is_told))

    async def chain(self, request: Request) -> Response:
        """Runs several stages."""
        stated, file, _ = await self._asked(request, ChainRequest)
        return await self._chain(stated, file, stated.webhook_config)

    async def execute_all(self, request: Request) -> Response:
        """Runs several stages, all five by default, as form fields say."""
        async with bounded_form(request, max_upload_bytes=self._max_upload_bytes) as form:
            file = await uploaded(form, max_upload_bytes=self._max_upload_bytes)
            if file is None:
                raise missing("file")
            stages = _listed(form, "stages", _STAGES)
            configs = {name: field_object(form, name) for name in ("global_config", "stage_configs")}
            stated = fields_of(form, ChainRequest, stages=stages or list(get_args(Stage)), input_files=None, **configs)
            url = form.get("webhook_url")
        return await self._chain(stated, file, str(url) if url else None)

    async def _chain(self, stated: ChainRequest, file: _File, webhook: Any) -> Response:
        order = Order(
            stages=stated.stages,
            is_chain=True,
            config=stated.global_config or {},
            webhook=webhook_to(webhook, allowed=self._webhook_hosts, named="the webhook's URL"),
            tells_itself=webhook is not None,
            is_upload=file is not None,
            stop_on_failure=stated.stop_on_failure,
            skip_existing=stated.skip_existing,
        )
        job = self._job(file, stated.input_files)
        done = await run_in_threadpool(self._runs.run, job, order)
        return JSONResponse(_chained(job, done, {**order.config, **(stated.stage_configs or {})}))

    async def _asked(self, request: Request, model: type[AnyRequest]) -> tuple[AnyRequest, _File, str | None]:
        """What is asked for, the file, and the webhook URL of a form; JSON is the body or the field `request`."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            return await json_of(request, model), None, None
        async with bounded_form(request, max_upload_bytes=self._max_upload_bytes) as form:
            file = await uploaded(form, max_upload_bytes=self._max_upload_bytes)
            if form.get("request") or model is ChainRequest:
                return field_json(form, "request", model), file, None
            config, paths = field_object(form, "config"), _listed(form, "input_files", _NAMES)
            url = form.get("webhook_url")
            stated = fields_of(form, model, config=config, input_files=paths, webhook_config=None)
        return stated, file, str(url) if url else None

    def _job(self, file: _File, paths: Sequence[str] | None) -> Job:
        if file is not None:
            return self._runs.begin(Document(*file))
        if not paths:
            raise HTTPException(400, "Either file upload or input_files must be provided")
        job = self._jobs.owning(paths)
        if job is None:
            raise HTTPException(400, f"Input file not found: {paths[0]}")
        return job


def _listed(form: FormData, name: str, adapter: TypeAdapter[Any]) -> Any:
    text = form.get(name)
    if not text or not isinstance(text, str):
        return None
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise HTTPException(400, f"{name} has to be a JSON array of names: {problem}") from None


def _info(stage: str) -> Json:
    description, takes, gives, needs = _INFO[stage]
    return {
        "stage_type": stage,
        "description": description,
        "input_formats": list(takes),
        "output_formats": [gives],
        "required_config": [],
        "optional_config": [],
        "dependencies": list(needs),
    }


def _executed(job: Job, outcome: Outcome, config: Any, *, is_told: bool) -> Json:
    return {
        "success": outcome.status != "failed",
        "stage_type": outcome.stage,
        "status": outcome.status,
        "output_files": [] if outcome.file is None else [outcome.file.as_json()],
        "metadata": {
            "execution_time": outcome.moment.seconds,
            "start_time": naive(outcome.started_at),
            "end_time": naive(outcome.ended_at),
            "input_files": [job.input_path],
            "config_used": config,
            "warnings": [],
        },
        "error_message": outcome.moment.error,
        "webhook_sent": is_told,
    }


def _chained(job: Job, done: Done, configs: Json) -> Json:
    failed = next((outcome.stage for outcome in done.outcomes if outcome.status == "failed"), None)
    files = [outcome.file for outcome in done.outcomes if outcome.file is not None]
    return {
        "success": failed is None,
        "stages_executed": [
            _executed(job, outcome, configs.get(outcome.stage, {}), is_told=False) for outcome in done.outcomes
        ],
        "total_execution_time": round(done.seconds, 6),
        "failed_stage": failed,
        "final_output_files": [files[-1].as_json()] if files else [],
    }
