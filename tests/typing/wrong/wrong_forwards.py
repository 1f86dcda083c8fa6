from morag_client import Event, Receiver


def number(event: Event) -> int:
    return 1


def nothing() -> str:
    return ""


def pass_on(receiver: Receiver, url: str) -> None:
    receiver.forward("*")  # error
    receiver.forward("*", url)  # error
    receiver.forward("*", to=url, format="teams")  # error
    receiver.forward("*", to=url, format=number)  # error
    receiver.forward("*", to=url, format=nothing)  # error
    receiver.forward("*", to=url, allow_private=True)  # error
    receiver.forward("*", to=url, retries=3)  # error
    receiver.forward(7, to=url)  # error
