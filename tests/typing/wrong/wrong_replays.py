from morag_client import Receiver


async def repair(receiver: Receiver) -> None:
    await receiver.replay("17")  # error
    await receiver.replay(record_id=17)  # error
    await receiver.replay(17, since="2h")  # error
    await receiver.dead_letters.retry([1, 2])  # error
    await receiver.dead_letters.list(5)  # error
