import morag_client
from morag_client import ChunkingCompleted, Discard, Event, Registry, RetryLater, RetryPolicy, on
from morag_client import RetryPolcy  # error

registry = Registry()
RetryPolicy(3)  # error
RetryPolicy(attempts="3")  # error
RetryPolicy(attempt=3)  # error
RetryPolicy(first=None)  # error
RetryPolicy().attempts = 3  # error
RetryPolicy().delay(1)  # error
RetryLater()  # error
RetryLater(after="1 h")  # error
RetryLater(after=1).after_second  # error
Discard()  # error
morag_client.RetryLatr(after=1)  # error


@on(ChunkingCompleted, retry=3)  # error
def with_a_number(event: ChunkingCompleted) -> None: ...


@on(ChunkingCompleted, retries=RetryPolicy())  # error
def with_a_wrong_keyword(event: ChunkingCompleted) -> None: ...


@on(ChunkingCompleted, timeout="30")  # error
def with_a_string(event: ChunkingCompleted) -> None: ...


@registry.on("chunking", retry=5)  # error
def named_with_a_number(event: Event) -> None: ...


@registry.on("chunking", time_out=5)  # error
def named_with_a_wrong_keyword(event: Event) -> None: ...


@registry.on_deadletter  # error
def misspelt(error: Exception) -> None: ...
