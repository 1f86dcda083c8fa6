from morag_client import ChunkingCompleted, ChunkingFailed, Context, Event, Registry, TaskCompleted, on

registry = Registry()


@on(ChunkingCompleted)  # error
def of_another_event(event: TaskCompleted) -> None: ...


@registry.on(ChunkingCompleted)  # error
async def of_another_status(event: ChunkingFailed) -> None: ...


@on(ChunkingCompleted, TaskCompleted)  # error
def of_one_of_two(event: TaskCompleted) -> None: ...


@on(ChunkingCompleted)  # error
def of_nothing() -> None: ...


@on(5)  # error
def of_a_number(event: Event) -> None: ...


@on(Context)  # error
def of_no_event(event: Event) -> None: ...


@on()  # error
def of_no_event_at_all(event: Event) -> None: ...


@on(ChunkingCompleted, name=5)  # error
def with_a_wrong_name(event: ChunkingCompleted) -> None: ...


@on(ChunkingCompleted, when=lambda event: True)  # error
def with_a_wrong_keyword(event: ChunkingCompleted) -> None: ...
