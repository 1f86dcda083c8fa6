import morag_client
from morag_client import Reciever  # error
from morag_client import ChunkingComplete, TaskCompleted  # error

receiver = morag_client.Reciever()  # error
print(morag_client.parse_events)  # error
print(TaskCompleted)
