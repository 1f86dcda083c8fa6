"""Reading what MoRAG answered: the typed object, or an error that says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeVar

from pydantic import ValidationError

from morag_client.api.refusals import detail_of, refused
from morag_client.api.requests import Head, Request
from morag_client.errors import NotUnderstood
from morag_client.events.payloads import Payload
from morag_client.wire.redaction import redacted_bytes

Answer = TypeVar("Answer", bound=Payload)

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answering(Generic[Answer]):
    """An exchange whose answer is JSON of a known form."""

    asking: Request
    answer: type[Answer]
    blocks: ClassVar[bool] = False

    def request(self) -> Request:
        """The same each time."""
        return self.asking

    def receive(self, head: Head) -> _Body[Answer]:
        """What collects the body, up to its bound. Raises NotUnderstood where it is encoded, which nobody asked for."""
        encoding = head.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise NotUnderstood(f"the answer to {self.asking.asked} is encoded ({encoding[:40]}), and was not to be")
        return _Body(self, head)


class _Body(Generic[Answer]):
    """Collects an answer."""

    def __init__(self, exchange: Answering[Answer], head: Head) -> None:
        self._exchange = exchange
        self._head = head
        self._collected = bytearray()

    def take(self, piece: bytes) -> None:
        self._collected += piece
        if len(self._collected) > MAX_ANSWER_BYTES:
            raise NotUnderstood(
                f"the answer to {self._exchange.asking.asked} is larger than {MAX_ANSWER_BYTES} bytes",
                status_code=self._head.status_code,
            )

    def tell(self) -> None:
        """Nobody asks."""

    def end(self) -> Answer:
        return read_answer(self._exchange.asking, self._exchange.answer, head=self._head, body=bytes(self._collected))

    def close(self) -> None:
        self._collected.clear()


def read_answer(request: Request, answer: type[Answer], *, head: Head, body: bytes) -> Answer:
    """The answer as its type. Raises ApiError for a refusal, and for what cannot be understood."""
    if not 200 <= head.status_code < 300:  # noqa: PLR2004
        raise refused(request, head, body)
    try:
        # MoRAG repeats the webhook's URL in what it notes of a task, and an answer is easily shown.
        return answer.model_validate_json(redacted_bytes(body) or b"{}")
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise NotUnderstood(
            f"MoRAG's answer to {request.asked} was not understood ({problems}): "
            "check that base_url= or MORAG_API_URL is a MoRAG server",
            status_code=head.status_code,
            detail=detail_of(body),
        ) from None
