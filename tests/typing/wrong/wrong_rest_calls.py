from morag_client import AsyncMoragClient, MoragClient


class NoWebhook:
    bearer_token = 7


def ask(client: MoragClient) -> None:
    client.status()  # error
    client.status(7)  # error
    client.status("t").no_such_field  # error
    client.status("t", timeout=7)  # error
    client.ingest_file("a.pdf", "https://app.example.com/hook")  # error
    client.ingest_file("a.pdf", webhook=NoWebhook())  # error
    client.ingest_file("a.pdf", on_progress=lambda sent: None)  # error
    client.process("a.pdf", mode="eat")  # error
    client.download("/x/y")  # error
    client.stages.run("chunker")  # error
    client.no_such_call()  # error


async def ask_on_a_loop(client: AsyncMoragClient) -> None:
    client.status("t").status  # error
    await client.status()  # error
    await client.ingest_url(7)  # error
