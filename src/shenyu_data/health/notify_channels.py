"""The ways in which messages go out: Apprise's services, webhooks, mail, and pings of jobs.

Secrets are read from their files when a message is sent, and are in no error.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import smtplib
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate
from typing import NamedTuple

import msgspec

from shenyu_data.health.notify_errors import NotSent
from shenyu_data.health.notify_http import WHOLE_S, line_to, request, why
from shenyu_data.health.notify_text import Letter
from shenyu_data.health.outbox import Message
from shenyu_data.model.config_notifications import MailTable, NotificationsTable, WebhookTable
from shenyu_data.model.errors import ConfigError
from shenyu_data.operations.configuration import Settings, read_lines_of, read_private_lines

SIGNATURE_HEADER = "X-Shenyu-Data-Signature"
"""``sha256=`` and the HMAC-SHA256 of the body, in hexadecimal digits."""

ID_HEADER = "X-Shenyu-Data-Id"
"""The message's id: the same if it comes again."""

_AGENT = "shenyu-data"


class Channel(NamedTuple):
    """One way. ``name`` has no secret and is kept in the log; ``wants`` says whether a message goes
    there; ``send`` raises NotSent.
    """

    name: str
    wants: Callable[[Message], bool]
    send: Callable[[Message, Letter], None]


def channels_of(settings: Settings) -> list[Channel]:
    """Return all ways that are configured. What cannot be read is one that fails."""
    table = settings.notifications
    found = [] if table is None else [*_apprise(table), *_webhooks(table), *_mail(table)]
    return found + [_ping(job, path) for job, path in settings.pings.items()]


def _is_told(message: Message) -> bool:
    return message.kind not in ("ping", "digest")


def _secret(path: str, what: str) -> str:
    try:
        return read_private_lines(path, what)[0]
    except ConfigError as error:
        raise NotSent(error.message) from None


def _apprise(table: NotificationsTable) -> list[Channel]:
    try:
        if table.urls_file is not None:
            urls = read_private_lines(table.urls_file, "the file of URLs")
        elif table.urls_command:
            urls = read_lines_of(table.urls_command, "the command of URLs")
        else:
            return []
    except ConfigError as error:
        return [_failing("apprise", error.message)]
    urls = [url.strip() for url in urls if url.strip() and not url.lstrip().startswith("#")]

    def sender(url: str) -> Callable[[Message, Letter], None]:
        return lambda message, letter: _by_apprise(url, letter)

    # By place: a name of an address, or a sum of it, would tell of the secret in it.
    return [Channel(f"apprise-{place}", _is_told, sender(url)) for place, url in enumerate(urls, 1)]


def _failing(name: str, reason: str) -> Channel:
    def fail(message: Message, letter: Letter) -> None:
        raise NotSent(reason)

    return Channel(name, _is_told, fail)


def _by_apprise(url: str, letter: Letter) -> None:
    try:
        import apprise  # late: it takes half a second
    except ImportError:
        raise NotSent("the package apprise is not installed: shenyu-data[notify]") from None
    # It would print addresses and answers.
    for name in ("apprise", "urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # A redirect may lead to anybody; nothing of ours is kept beside the state folder.
    asset = apprise.AppriseAsset(http_redirects=False, storage_mode="memory")
    service = apprise.Apprise(asset=asset)
    try:
        known = service.add(url)
        sent = known and service.notify(title=letter.title, body=letter.body)
    except Exception as error:
        raise NotSent(f"Apprise failed: {type(error).__name__}") from None
    if not known:
        raise NotSent("Apprise does not know such a URL")
    if not sent:
        raise NotSent("Apprise could not send it")


def _webhooks(table: NotificationsTable) -> list[Channel]:
    def sender(item: WebhookTable) -> Callable[[Message, Letter], None]:
        return lambda message, letter: _by_webhook(item, message, letter)

    return [
        Channel(f"webhook-{name}", _is_told, sender(item)) for name, item in table.webhooks.items()
    ]


def _by_webhook(item: WebhookTable, message: Message, letter: Letter) -> None:
    document = {
        "id": letter.id,
        "kind": message.kind,
        "created_ms": message.created_ms,
        "title": letter.title,
        "body": letter.body,
        "alert": message.payload if message.kind.startswith("alert-") else None,
    }
    body = msgspec.json.encode(document)
    headers = {"Content-Type": "application/json", "User-Agent": _AGENT, ID_HEADER: letter.id}
    url = _secret(item.url_file, "the file of a webhook's URL")
    if item.secret_file is not None:
        secret = _secret(item.secret_file, "the file of a webhook's secret")
        headers[SIGNATURE_HEADER] = "sha256=" + signature(secret, body)
    request(url, body, headers)


def signature(secret: str, body: bytes) -> str:
    """Return the HMAC-SHA256 of a body in hexadecimal digits, with the secret in UTF-8."""
    return hmac.new(secret.encode("utf-8", "surrogateescape"), body, hashlib.sha256).hexdigest()


def _mail(table: NotificationsTable) -> list[Channel]:
    """Return a way for each address: whoever gets a mail must not get it again because another one
    does not.
    """

    def sender(item: MailTable, address: str) -> Callable[[Message, Letter], None]:
        return lambda message, letter: _by_mail(item, address, letter)

    def wants(item: MailTable) -> Callable[[Message], bool]:
        return lambda message: (
            item.digest
            if message.kind == "digest"
            else _is_told(message) and (item.alerts or message.kind == "test")
        )

    return [
        Channel(
            f"mail-{name}-{place}" if len(item.to) > 1 else f"mail-{name}",
            wants(item),
            sender(item, address),
        )
        for name, item in table.mail.items()
        for place, address in enumerate(item.to, 1)
    ]


def _by_mail(item: MailTable, address: str, letter: Letter) -> None:
    mail = EmailMessage()
    mail["From"] = item.sender
    mail["To"] = ", ".join(item.to)
    mail["Subject"] = letter.title
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{letter.id}@{item.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(letter.body)
    password = None
    if item.password_file is not None:
        password = _secret(item.password_file, "the file of a mail password")
    port = item.port_or_usual()
    try:
        with line_to(item.host, port, WHOLE_S) as line:
            if item.tls == "tls":
                context = ssl.create_default_context()
                line = context.wrap_socket(line, server_hostname=item.host)
            server = _Server(line, item.host, port)
            if item.tls == "starttls":
                server.starttls(context=ssl.create_default_context())
            if item.user is not None and password is not None:
                server.login(item.user, password)
            server.send_message(mail, to_addrs=[address])
            with suppress(OSError, smtplib.SMTPException):  # it has it, whatever it says now
                server.quit()
    except smtplib.SMTPResponseException as error:
        permanent = error.smtp_code >= 550
        raise NotSent(f"the server answered {error.smtp_code}", permanent=permanent) from None
    except smtplib.SMTPRecipientsRefused:
        raise NotSent("the server does not take the address", permanent=True) from None
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise NotSent(why(error)) from None


class _Server(smtplib.SMTP):
    """A mail server at the other end of a line."""

    def __init__(self, line: socket.socket, host: str, port: int) -> None:
        self._line = line
        super().__init__(host, port, timeout=WHOLE_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._line


def _ping(job: str, path: str) -> Channel:
    def wants(message: Message) -> bool:
        return message.kind == "ping" and message.payload.get("job") == job

    def send(message: Message, letter: Letter) -> None:
        _by_ping(_secret(path, "the file of a job's ping URL"), message.payload, letter.id)

    return Channel(f"ping-{job}", wants, send)


def _by_ping(url: str, payload: Mapping[str, object], message: str) -> None:
    """Tell that a job began, ended well, or failed, as healthchecks.io has it."""
    ends = {"start": "/start", "failure": "/fail"}
    run = str(payload.get("run", ""))
    body = f"{payload.get('outcome', 'running')}\n".encode()
    base, _, query = url.partition("?")
    address = base.rstrip("/") + ends.get(str(payload.get("event")), "")
    if len(run) == 32:  # by which its start and its end are known to belong together
        rid = "-".join((run[:8], run[8:12], run[12:16], run[16:20], run[20:]))
        query = f"{query}&rid={rid}" if query else f"rid={rid}"
    request(
        f"{address}?{query}" if query else address,
        body,
        {"Content-Type": "text/plain", "User-Agent": _AGENT, ID_HEADER: message},
    )
