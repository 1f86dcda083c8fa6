from morag_client import Receiver, webhook_url


def submit(receiver: Receiver) -> None:
    receiver.webhook_url("acme")  # error
    receiver.webhook_url(tenant=None)  # error
    receiver.webhook_url(price=1.5)  # error
    receiver.webhook_url(max_age="2h")  # error
    webhook_url("key")  # error
    webhook_url(tenant=b"acme")  # error
    receiver.bearer_token.upper()  # error
