"""The table ``[notifications]`` of the configuration: who is told, and how. Pure.

Whatever holds a secret is named by a file: addresses of services do, and passwords.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shenyu_data.model.ages import parse_age
from shenyu_data.model.errors import UsageError

Text = Annotated[str, Meta(min_length=1)]

DEFAULT_GIVE_UP = "3d"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")
_ADDRESS = re.compile(r"[^\s@<>,;\x00-\x1f\x7f]+@[^\s@<>,;\x00-\x1f\x7f]+")


class WebhookTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[notifications.webhooks.KEY]``: messages go there as JSON."""

    url_file: Text
    secret_file: Text | None = None


class MailTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[notifications.mail.KEY]``: messages go there by SMTP."""

    host: Text
    to: list[Text]
    sender: Text = msgspec.field(name="from")
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: Text | None = None
    password_file: Text | None = None
    alerts: bool = True
    digest: bool = True

    def __post_init__(self) -> None:
        if not self.to:
            raise ValueError("`to` names nobody")
        for address in (self.sender, *self.to):
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"{address!r} is no address: name@example.org")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("`user` and `password_file` go together")
        if self.user is not None and self.tls == "none":
            raise ValueError('a password needs `tls`: "starttls" or "tls"')

    def port_or_usual(self) -> int:
        """Return the port: the usual one of its kind, if none is set."""
        if self.port is not None:
            return self.port
        return {"starttls": 587, "tls": 465, "none": 25}[self.tls]


class NotificationsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[notifications]``. Without it nobody is told anything."""

    urls_file: Text | None = None
    urls_command: list[str] | None = None
    give_up: Text = DEFAULT_GIVE_UP
    webhooks: dict[str, WebhookTable] = {}
    mail: dict[str, MailTable] = {}

    def __post_init__(self) -> None:
        if self.urls_file is not None and self.urls_command is not None:
            raise ValueError("`urls_file` and `urls_command` do not go together")
        if self.urls_command is not None and not "".join(self.urls_command[:1]):
            raise ValueError("`urls_command` is not a command: a list of words, a program first")
        for name in (*self.webhooks, *self.mail):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name: small letters, digits and dashes, at most 48"
                )
        try:
            parse_age(self.give_up)
        except UsageError as error:
            raise ValueError(f"{error.message}. {error.hint}") from None

    def within(self, folder: str) -> NotificationsTable:
        """Return it with files named from ``folder`` on, which is the configuration's."""
        webhooks = {
            name: msgspec.structs.replace(
                item,
                url_file=os.path.join(folder, item.url_file),
                secret_file=_joined(folder, item.secret_file),
            )
            for name, item in self.webhooks.items()
        }
        mail = {
            name: msgspec.structs.replace(item, password_file=_joined(folder, item.password_file))
            for name, item in self.mail.items()
        }
        return msgspec.structs.replace(
            self, urls_file=_joined(folder, self.urls_file), webhooks=webhooks, mail=mail
        )

    def give_up_ms(self) -> int:
        """Return how long a message is tried to be sent."""
        return parse_age(self.give_up) * 1000


def _joined(folder: str, path: str | None) -> str | None:
    return os.path.join(folder, path) if path is not None else None


NOTIFICATIONS_DESCRIPTIONS = {
    "urls_file": "A file with a URL of Apprise in each line; only its owner may read it.",
    "urls_command": "A command, as a list of words, that prints these URLs; no shell.",
    "give_up": "How long a message that does not get through is tried again. Default: 3d.",
    "webhooks": "Where messages go as JSON.",
    "mail": "Where they go by mail.",
}
"""What each key of the table ``[notifications]`` means."""

WEBHOOK_DESCRIPTIONS = {
    "url_file": "A file whose first line is the URL; only its owner may read it.",
    "secret_file": "A file whose first line is the secret that messages are signed with.",
}
"""What each key of the tables ``[notifications.webhooks.KEY]`` means."""

MAIL_DESCRIPTIONS = {
    "host": "The mail server.",
    "to": "The addresses it goes to.",
    "from": "The address it comes from.",
    "port": "The server's port. Default: 587, 465 with tls, 25 without any.",
    "tls": 'How the line is sealed: "starttls", "tls", or "none". Default: "starttls".',
    "user": "Who to log in as, if the server asks.",
    "password_file": "A file whose first line is the password; only its owner may read it.",
    "alerts": "Whether alerts go there. Default: true.",
    "digest": "Whether the weekly digest goes there. Default: true.",
}
"""What each key of the tables ``[notifications.mail.KEY]`` means."""
