"""A mail for every failure, by a handler: what the mail server does not take is tried again."""

import os
import smtplib
from email.message import EmailMessage

from morag_client import Context, Event, Receiver, on

HOST, _, PORT = os.environ.get("SMTP_SERVER", "127.0.0.1:25").partition(":")
SENDER = os.environ.get("MAIL_FROM", "morag@example.com")
RECIPIENT = os.environ.get("MAIL_TO", "operations@example.com")


# A plain function runs in a thread, so that it may wait for the mail server.
@on("*.failed")
def mail(event: Event, context: Context) -> None:
    message = EmailMessage()
    message["From"], message["To"] = SENDER, RECIPIENT
    message["Subject"] = one_line(f"MoRAG: {event.name}, {event.document_id or event.task_id or 'without an id'}")
    # A mail that is sent twice, after a crash, is known by its id.
    message["Message-ID"] = f"<record-{context.record_id}@{SENDER.partition('@')[2]}>"
    message.set_content(
        f"{event.error or 'MoRAG does not say why.'}\n\n"
        f"task      {event.task_id}\n"
        f"document  {event.document_id}\n"
        f"received  {context.received_at:%Y-%m-%d %H:%M:%S} UTC\n"
        f"record    {context.record_id}\n"
    )
    with smtplib.SMTP(HOST, int(PORT or 25), timeout=10) as server:
        if user := os.environ.get("SMTP_USER"):
            server.starttls()
            server.login(user, os.environ["SMTP_PASSWORD"])
        server.send_message(message)


def one_line(text: str) -> str:
    """What comes from outside must not begin a header of its own."""
    return " ".join(text.split())[:150]


receiver = Receiver(
    secrets=os.environ.get("MORAG_WEBHOOK_SECRET", "replace-me"),
    database_url=os.environ.get("MORAG_DATABASE_URL", "sqlite:///morag.db"),
)
