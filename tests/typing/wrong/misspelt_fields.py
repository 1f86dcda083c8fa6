from morag_client import ChunkingCompleted, Context, Event, TaskCompleted, on


@on(ChunkingCompleted)
def chunked(event: ChunkingCompleted, context: Context) -> None:
    print(event.data.chunk_created)  # error
    print(event.data.chunks_created + 1)  # error
    print(event.result.chunks_created)  # error
    print(event.taskid)  # error
    print(context.atempt)  # error
    event.name = "other"  # error


@on(TaskCompleted, where=lambda event: event.result.chunk_count == 3)  # error
def completed(event: TaskCompleted) -> None:
    print(event.result.chunks)  # error


@on("chunking.completed")
def named(event: Event) -> None:
    print(event.chunks_created)  # error
    named(5)  # error
