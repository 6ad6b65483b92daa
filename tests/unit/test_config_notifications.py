"""The table of notifications: what it takes, and what it refuses."""

import pytest

from shenyu_data.model.config import Config, parse_config
from shenyu_data.model.errors import ConfigError

MAIL = '[notifications.mail.ops]\nhost = "h"\nfrom = "a@b"\nto = ["c@d"]\n'


def parsed(text: str) -> Config:
    return parse_config(text, "x.toml")


@pytest.mark.parametrize(
    ("more", "port"), [("", 587), ('tls = "tls"\n', 465), ('tls = "none"\n', 25), ("port = 9\n", 9)]
)
def test_a_port_that_is_not_set_is_the_usual_one(more: str, port: int) -> None:
    table = parsed(MAIL + more).notifications
    assert table is not None
    assert table.mail["ops"].port_or_usual() == port


def test_files_count_from_the_folder_of_the_configuration() -> None:
    text = '[notifications]\nurls_file = "urls"\n'
    text += '[notifications.webhooks.chat]\nurl_file = "url"\nsecret_file = "/abs"\n'
    text += MAIL + 'user = "u"\npassword_file = "password"\n'
    table = parsed(text).notifications
    assert table is not None
    found = table.within("/etc/x")
    assert found.urls_file == "/etc/x/urls"
    chat = found.webhooks["chat"]
    assert (chat.url_file, chat.secret_file) == ("/etc/x/url", "/abs")
    assert found.mail["ops"].password_file == "/etc/x/password"


@pytest.mark.parametrize(
    "text",
    [
        MAIL + 'user = "u"\n',
        MAIL + 'user = "u"\npassword_file = "p"\ntls = "none"\n',
        MAIL.replace('["c@d"]', "[]"),
        MAIL.replace("c@d", "c@d\\r\\nBcc: e@f"),
        MAIL.replace("a@b", "nobody"),
        MAIL + 'password = "in the clear"\n',
        MAIL.replace("ops", "'Not A Name'"),
        '[notifications]\nurls_file = "a"\nurls_command = ["b"]\n',
        "[notifications]\nurls_command = []\n",
        '[notifications]\ngive_up = "soon"\n',
        '[notifications.webhooks.chat]\nurl = "https://example.org/secret"\n',
    ],
)
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parsed(text)
