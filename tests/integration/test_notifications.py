"""Messages reach real receivers, once each if all goes well and at least once if not; and secrets
reach nobody.
"""

import datetime
import email
import email.policy
import ipaddress
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shenyu_data.health import notify_channels, notify_http
from shenyu_data.health.hooks import Occasion, call_hooks
from shenyu_data.health.known import note_tick
from shenyu_data.health.notify import Sent, send_waiting, try_channels
from shenyu_data.health.notify_channels import ID_HEADER, SIGNATURE_HEADER, signature
from shenyu_data.health.notify_hook import finish_carrying
from shenyu_data.health.notify_state import channel_states
from shenyu_data.health.outbox import add_message, pending_messages
from shenyu_data.health.runs import begin_run, end_run, run_with_id
from shenyu_data.health.store import open_store
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.configuration import Settings, load_settings
from shenyu_data.operations.places import state_folder, state_of

from .receivers import Request, Web, free_port, mail_server, web_server

NOW_MS = 1_700_000_000_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
TOKEN = "tokenthatnobodymaysee"
SECRET = "signing-secret"
HOOKS = ["shenyu_data.health.notify_hook:notify_after"]
ALERT = {
    "code": "backup-old",
    "level": "critical",
    "subject": "",
    "message": "the last good backup is 3 days old",
    "command": "shenyu-data backup",
    "since_ms": NOW_MS - 3 * DAY_MS,
    "times": 1,
    "figures": {"age_s": 259200},
    "resolved_ms": None,
}


of_apprise = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""It imports modules of Python's that are about to go, if they are there."""


class Place:
    """A configuration, a state folder, and a clock that stands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = str(folder / "state" / "0123456789abcdef")
        self.monitor = CollectingMonitor()
        self.now_ms = NOW_MS
        self.text = f'data = "{folder / "data"}"\n'
        (folder / "data").mkdir()
        with open_store(self.state):
            pass

    def secret(self, name: str, text: str) -> str:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text + "\n")
        return str(path)

    def webhook(self, name: str, port: int, *, signed: bool = False) -> None:
        url = self.secret(f"{name}.url", f"http://127.0.0.1:{port}/{TOKEN}")
        self.text += f'[notifications.webhooks.{name}]\nurl_file = "{url}"\n'
        if signed:
            self.text += f'secret_file = "{self.secret(f"{name}.secret", SECRET)}"\n'

    def mail(self, port: int, more: str = 'tls = "none"') -> None:
        self.text += (
            f'[notifications.mail.ops]\nhost = "127.0.0.1"\nport = {port}\n{more}\n'
            'from = "data@example.org"\nto = ["ops@example.org", "boss@example.org"]\n'
        )

    @property
    def settings(self) -> Settings:
        config = self.folder / "shenyu-data.toml"
        config.write_text(self.text)
        return load_settings(
            config_file=str(config), data=None, repository=None, jobs=None, environment={}
        )

    def alert(self, kind: str = "alert-raised", **more: object) -> None:
        with open_store(self.state) as store, store.writing() as connection:
            add_message(connection, kind, self.now_ms, {**ALERT, **more})  # type: ignore[arg-type]

    def send(self, after_ms: int = 0) -> Sent | None:
        self.now_ms += after_ms
        return send_waiting(self.state, self.settings, self.monitor, lambda: self.now_ms)

    def waiting(self) -> int:
        with open_store(self.state) as store:
            return len(pending_messages(store))

    def hook(self, event: str, run: str | None = None) -> None:
        with open_store(self.state) as store:
            occasion = Occasion(
                event=event,  # type: ignore[arg-type]
                store=store,
                settings=self.settings,
                now_ms=self.now_ms,
                monitor=self.monitor,
                run=None if run is None else run_with_id(store, run),
            )
            call_hooks(occasion, HOOKS)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a request take a moment, so that a test of a slow receiver does not."""
    monkeypatch.setattr(notify_http, "WHOLE_S", 0.3)
    monkeypatch.setattr(notify_channels, "WHOLE_S", 0.3)


def test_a_webhook_is_told_what_since_when_and_what_to_do(place: Place, web: Web) -> None:
    place.webhook("chat", web.port, signed=True)
    place.alert()
    assert place.send() == Sent(sent=1)
    (request,) = web.requests
    told = json.loads(request.body)
    assert told["title"].endswith("critical: the last good backup is 3 days old")
    assert told["body"] == (
        "the last good backup is 3 days old\n"
        "Since 2023-11-11 22:13 UTC.\n"
        "What to do: shenyu-data backup"
    )
    assert told["alert"] == ALERT
    assert request.headers[ID_HEADER] == told["id"] == f"01234567-{NOW_MS}-1"
    assert request.headers[SIGNATURE_HEADER] == f"sha256={signature(SECRET, request.body)}"
    assert place.send() == Sent()
    assert place.waiting() == 0


def test_that_it_is_over_is_told(place: Place, web: Web) -> None:
    place.webhook("chat", web.port)
    place.alert("alert-resolved", resolved_ms=NOW_MS)
    place.send()
    body = json.loads(web.requests[0].body)["body"]
    assert body.startswith("It is over: ")
    assert body.endswith("until 2023-11-14 22:13 UTC.")


def test_a_receiver_that_is_down_holds_up_no_other_and_gets_it_later(
    place: Place, web: Web
) -> None:
    port = free_port()
    place.webhook("down", port)
    place.webhook("up", web.port)
    place.alert()
    place.alert()
    assert place.send() == Sent(sent=2, failed=1)
    assert place.waiting() == 2
    assert place.send(MINUTE_MS // 2) == Sent()  # too early to try again
    with web_server(port) as back:
        assert place.send(MINUTE_MS) == Sent(sent=2)
        assert len(back.requests) == len(web.requests) == 2
    assert place.waiting() == 0


def test_what_is_answered_with_an_error_is_tried_less_and_less_often(
    place: Place, web: Web
) -> None:
    web.status = 500
    place.webhook("chat", web.port)
    place.alert()
    for _ in range(180):
        place.send(MINUTE_MS)
    assert 6 <= len(web.requests) <= 9
    with open_store(place.state) as store:
        state = channel_states(store)["webhook-chat"]
    assert (state.failing_ms, state.error) == (NOW_MS + MINUTE_MS, "it answered with status 500")


def test_a_way_that_is_configured_no_more_is_forgotten(place: Place, web: Web) -> None:
    before = place.text
    place.webhook("down", free_port())
    place.alert()
    assert place.send() == Sent(failed=1)
    place.text = before
    place.webhook("chat", web.port)
    assert place.send() == Sent(sent=1)
    with open_store(place.state) as store:
        assert list(channel_states(store)) == ["webhook-chat"]


def test_a_message_that_is_refused_holds_up_no_other(place: Place, web: Web) -> None:
    web.status = 400
    place.webhook("chat", web.port)
    place.alert()
    place.alert()
    assert place.send() == Sent(failed=2)
    web.status = 200
    assert place.send(2 * MINUTE_MS) == Sent(sent=2)


def test_what_cannot_be_sent_for_days_is_given_up_and_said(place: Place) -> None:
    place.webhook("down", free_port())
    place.alert()
    for _ in range(4):
        assert place.send(DAY_MS // 2) == Sent(failed=1)
    assert place.send(10 * DAY_MS) == Sent(failed=1)  # a clock that leaps says nothing
    assert place.send(DAY_MS) == Sent(given_up=1)
    assert place.waiting() == 0
    (finding,) = place.monitor.findings
    assert finding.code == "notification-given-up"
    with open_store(place.state) as store:
        assert channel_states(store)["webhook-down"].given_up == 1


@pytest.mark.parametrize("drips", [True, False], ids=["byte by byte", "silent"])
def test_a_slow_receiver_costs_a_bounded_time(
    drips: bool, place: Place, web: Web, quick: None
) -> None:
    web.drips = drips
    web.before = lambda: None if drips else web.stopped.wait()
    place.webhook("slow", web.port)
    place.alert()
    assert place.send() == Sent(failed=1)
    web.stopped.set()
    assert place.waiting() == 1


def test_a_redirect_leads_to_no_other_host(place: Place, web: Web) -> None:
    place.webhook("chat", web.port)
    with web_server() as other:
        web.location = f"http://127.0.0.1:{other.port}/landed"
        place.alert()
        assert place.send() == Sent(failed=1)
        assert other.requests == []


def test_a_redirect_on_the_same_host_is_followed(place: Place, web: Web) -> None:
    place.webhook("chat", web.port)
    web.location = "/landed"
    place.alert()
    assert place.send() == Sent(sent=1)
    assert [request.path for request in web.requests] == [f"/{TOKEN}", "/landed"]


def test_a_redirect_without_end_is_not_followed_for_ever(place: Place, web: Web) -> None:
    place.webhook("chat", web.port)
    web.location = "/again"
    place.alert()
    assert place.send() == Sent(failed=1)
    assert len(web.requests) == 4


KILLED = """
import sys, time
from shenyu_data.health.notify import send_waiting
from shenyu_data.model.monitor import CollectingMonitor
from shenyu_data.operations.configuration import load_settings
settings = load_settings(
    config_file=sys.argv[1], data=None, repository=None, jobs=None, environment={}
)
send_waiting(sys.argv[2], settings, CollectingMonitor(), lambda: int(sys.argv[3]))
"""


def test_a_kill_between_sending_and_noting_it_sends_it_again_under_the_same_id(
    place: Place, web: Web
) -> None:
    place.webhook("chat", web.port)
    place.alert()
    config = place.settings.config_file
    assert config is not None
    started: list[subprocess.Popen[bytes]] = []
    ready = threading.Event()

    def kill() -> None:
        ready.wait()
        os.kill(started[0].pid, signal.SIGKILL)
        started[0].wait()

    web.before = kill
    words = [sys.executable, "-c", KILLED, config, place.state, str(NOW_MS)]
    started.append(subprocess.Popen(words))
    ready.set()
    assert started[0].wait() == -signal.SIGKILL
    web.before = lambda: None
    assert place.waiting() == 1
    assert place.send() == Sent(sent=1)
    first, second = web.requests
    assert first.headers[ID_HEADER] == second.headers[ID_HEADER]
    assert place.waiting() == 0


def test_of_two_that_send_at_once_one_does(place: Place, web: Web) -> None:
    place.webhook("chat", web.port)
    place.alert()
    found: list[Sent | None] = []
    web.before = lambda: found.append(place.send())
    assert place.send() == Sent(sent=1)
    assert found == [None]
    assert len(web.requests) == 1


def test_a_mail_says_it_to_everybody_who_is_named(place: Place) -> None:
    with mail_server() as server:
        place.mail(server.port)
        place.alert()
        assert place.send() == Sent(sent=2)
    assert [envelope.rcpt_tos for envelope in server.envelopes] == [
        ["ops@example.org"],
        ["boss@example.org"],
    ]
    envelope = server.envelopes[0]
    assert isinstance(envelope.content, bytes)
    mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert "critical: the last good backup is 3 days old" in mail["Subject"]
    assert mail["Message-ID"] == f"<01234567-{NOW_MS}-1@example.org>"
    assert "What to do: shenyu-data backup" in mail.get_content()


def test_a_mail_that_the_server_does_not_take_waits(place: Place) -> None:
    with mail_server() as server:
        server.answer = "451 later"
        place.mail(server.port)
        place.alert()
        assert place.send() == Sent(failed=2)
        server.answer = "250 OK"
        assert place.send(MINUTE_MS) == Sent(sent=2)


def test_who_gets_a_mail_does_not_get_it_again_because_another_does_not(place: Place) -> None:
    with mail_server() as server:
        server.unknown = "boss@example.org"
        place.mail(server.port)
        place.alert()
        assert place.send() == Sent(sent=1, failed=1)
        assert place.send(MINUTE_MS) == Sent(failed=1)
        server.unknown = ""
        assert place.send(2 * MINUTE_MS) == Sent(sent=1)
    assert [envelope.rcpt_tos for envelope in server.envelopes] == [
        ["ops@example.org"],
        ["boss@example.org"],
    ]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1, which nobody trusts, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(text + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_password_is_sent_to_nobody_whose_certificate_is_not_trusted(
    place: Place, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    password = place.secret("password", "mail-secret")
    with mail_server(context) as server:
        place.mail(server.port, f'user = "data"\npassword_file = "{password}"')
        place.alert()
        assert place.send() == Sent(failed=2)
        assert (server.logins, server.envelopes) == ([], [])
        with open_store(place.state) as store:
            state = channel_states(store)["mail-ops-1"]
        assert state.error == "its certificate is not to be trusted"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert place.send(MINUTE_MS) == Sent(sent=2)
        assert server.logins == [("data", "mail-secret")] * 2


def test_a_webhook_whose_certificate_is_not_trusted_is_told_nothing(
    place: Place, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with web_server(tls_context=context) as web:
        place.webhook("chat", web.port)
        place.secret("chat.url", f"https://127.0.0.1:{web.port}/{TOKEN}")
        place.alert()
        assert place.send() == Sent(failed=1)
        assert web.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert place.send(MINUTE_MS) == Sent(sent=1)
        assert len(web.requests) == 1


@of_apprise
def test_a_service_of_apprise_is_told(
    place: Place, web: Web, capfd: pytest.CaptureFixture[str]
) -> None:
    urls = place.secret("urls", f"# ours\njson://127.0.0.1:{web.port}/{TOKEN}\nnosuch://{TOKEN}")
    place.text += f'[notifications]\nurls_file = "{urls}"\n'
    place.alert()
    assert place.send() == Sent(sent=1, failed=1)
    assert "the last good backup" in json.loads(web.requests[0].body)["message"]
    web.status = 500
    place.alert()
    assert place.send(MINUTE_MS) == Sent(failed=2)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_others_may_read_is_not_used(place: Place, web: Web) -> None:
    place.webhook("chat", web.port)
    (place.folder / "chat.url").chmod(0o644)
    place.alert()
    assert place.send() == Sent(failed=1)
    assert web.requests == []
    with open_store(place.state) as store:
        assert "others than its owner" in channel_states(store)["webhook-chat"].error


@of_apprise
def test_a_secret_is_in_no_state_and_in_no_finding(
    place: Place, web: Web, capfd: pytest.CaptureFixture[str]
) -> None:
    web.status = 500
    urls = place.secret("urls", f"json://user:{TOKEN}@127.0.0.1:{web.port}/{TOKEN}")
    place.text += f'[notifications]\nurls_file = "{urls}"\n'
    place.webhook("chat", web.port, signed=True)
    place.webhook("down", free_port())
    place.webhook("wrong", web.port)
    place.secret("wrong.url", f"ftp://{TOKEN}.example.org")
    place.alert()
    place.send()
    place.send(10 * DAY_MS)
    trials = try_channels(place.settings, place.state, place.now_ms)
    assert all(trial.error for trial in trials)
    said = f"{place.monitor.findings}{trials}{capfd.readouterr()}{place.settings}"
    kept = b"".join(path.read_bytes() for path in Path(place.state).iterdir())
    for secret in (TOKEN, SECRET):
        assert secret not in said
        assert secret.encode() not in kept


def test_a_test_says_of_each_way_whether_it_works(place: Place, web: Web) -> None:
    place.webhook("up", web.port)
    place.webhook("down", free_port())
    trials = try_channels(place.settings, os.path.basename(place.state), NOW_MS)
    assert [(trial.channel, bool(trial.error)) for trial in trials] == [
        ("webhook-up", False),
        ("webhook-down", True),
    ]
    assert json.loads(web.requests[0].body)["title"].endswith(": a test")


def pinged(place: Place, outcome: Any, due_ms: int) -> str:
    with open_store(place.state) as store:
        run = begin_run(store, "backup", place.now_ms, job="nightly", due_ms=due_ms)
    place.hook("begin", run)
    finish_carrying()
    with open_store(place.state) as store:
        end_run(store, run, place.now_ms, outcome)
    place.hook("end", run)
    finish_carrying()
    return run


def test_a_job_pings_when_it_begins_and_how_it_ends(
    place: Place, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shenyu_data.health.notify_hook._now_ms", lambda: place.now_ms)
    url = place.secret("ping", f"http://127.0.0.1:{web.port}/ping/{TOKEN}")
    place.text += '[schedule.jobs.nightly]\nrun = ["backup"]\nat = "@daily"\n'
    place.text += f'ping_file = "{url}"\n'
    runs = [pinged(place, "good", 1), pinged(place, "failed", 2)]
    rids = [f"?rid={run[:8]}-{run[8:12]}-{run[12:16]}-{run[16:20]}-{run[20:]}" for run in runs]
    assert [request.path.removeprefix(f"/ping/{TOKEN}") for request in web.requests] == [
        f"/start{rids[0]}",
        rids[0],
        f"/start{rids[1]}",
        f"/fail{rids[1]}",
    ]
    assert place.waiting() == 0


def test_a_hook_does_not_wait_for_who_is_slow(place: Place, web: Web) -> None:
    place.webhook("slow", web.port)
    place.alert()
    web.before = web.stopped.wait
    place.hook("tick")
    assert not web.stopped.is_set()  # nobody has answered, and we are here
    web.stopped.set()
    finish_carrying()


def test_what_comes_up_while_messages_are_on_their_way_goes_out_too(
    place: Place, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shenyu_data.health.notify_hook._now_ms", lambda: place.now_ms)
    came, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        came.set()
        go_on.wait()

    web.before = hold
    place.webhook("chat", web.port)
    place.alert()
    place.hook("tick")
    came.wait()
    place.alert()
    place.hook("tick")
    go_on.set()
    finish_carrying()
    assert len(web.requests) == 2
    assert place.waiting() == 0


def test_a_run_that_fails_tells_it_and_the_next_one_that_it_is_over(place: Place, web: Web) -> None:
    """The whole of it, as cron would call it."""
    place.webhook("chat", web.port)
    url = place.secret("ping", f"http://127.0.0.1:{web.port}/ping")
    place.text = f'repository = "{place.folder / "repo"}"\n{place.text}'
    place.text += '[schedule.jobs.nightly]\nrun = ["backup"]\nat = "@yearly"\nretries = 0\n'
    place.text += f'ping_file = "{url}"\n'
    config = place.settings.config_file

    def call(*words: str, passphrase: str = "correct horse") -> int:
        return subprocess.run(
            [sys.executable, "-m", "shenyu_data.cli.main", *words, "--quiet"],
            cwd=place.folder,
            env={**os.environ, "SHENYU_DATA_PASSPHRASE": passphrase},
            capture_output=True,
        ).returncode

    assert call("init", "--data", "data", "--repo", "repo", "--config", "made.toml") == 0
    run = ["schedule", "run", "nightly", "--now", "--config", str(config)]
    assert call(*run, passphrase="wrong") == 4
    assert call(*run) == 0
    pings = [request.path.partition("?")[0] for request in web.requests if "rid=" in request.path]
    assert pings == ["/ping/start", "/ping/fail", "/ping/start", "/ping"]
    told = [json.loads(item.body) for item in web.requests if "rid=" not in item.path]
    kinds = [item["kind"] for item in told if item["alert"]["code"] == "job-failed"]
    assert kinds == ["alert-raised", "alert-resolved"]


def test_without_anybody_to_tell_nothing_waits(place: Place) -> None:
    place.alert()
    place.hook("tick")
    assert place.waiting() == 0


def test_a_digest_goes_out_once_a_week(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shenyu_data.health.notify_hook._now_ms", lambda: place.now_ms)
    with mail_server() as server:
        place.mail(server.port)
        for _ in range(15):
            place.hook("tick")
            finish_carrying()
            place.now_ms += DAY_MS
    assert len(server.envelopes) == 3 * 2
    content = server.envelopes[0].content
    assert isinstance(content, bytes)
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert mail["Subject"].endswith(": the last week")
    assert "backup: never" in mail.get_content()


def test_a_state_disk_that_is_gone_is_a_finding_and_no_failure(place: Place, web: Web) -> None:
    place.webhook("chat", web.port)
    settings = msgspec.structs.replace(place.settings)
    with pytest.raises(Exception, match="cannot be used"):
        send_waiting("/dev/null/state", settings, place.monitor, lambda: NOW_MS)
    assert web.requests == []


def test_a_verb_that_a_crontab_calls_tells_what_it_saw(place: Place, web: Web) -> None:
    """No serve is there, and no `schedule run`."""
    place.webhook("chat", web.port)
    document = torn(place)
    assert call(place, "validate") == 1
    assert [told(item) for item in web.requests] == [("alert-raised", "documents-invalid")]
    assert call(place, "validate") == 1
    assert len(web.requests) == 1
    document.write_text("[]")
    call(place, "validate")
    assert told(web.requests[-1]) == ("alert-resolved", "documents-invalid")


def test_a_verb_leaves_to_a_serve_that_is_at_work_what_that_will_tell(
    place: Place, web: Web
) -> None:
    place.webhook("chat", web.port)
    torn(place)
    state = state_of(state_folder(xdg(place)), str(place.folder / "data"))
    with open_store(state) as store:
        note_tick(store, time.time_ns() // 1_000_000)
    call(place, "validate")
    assert web.requests == []


def test_a_receiver_that_is_down_fails_no_verb(place: Place) -> None:
    place.webhook("chat", free_port())
    torn(place)
    assert call(place, "validate") == 1


def torn(place: Place) -> Path:
    document = place.folder / "data/histories/anna/chat-history.json"
    document.parent.mkdir(parents=True)
    document.write_text("[")
    return document


def call(place: Place, *words: str) -> int:
    environment = {**os.environ, **xdg(place)}
    (place.folder / "shenyu-data.toml").write_text(place.text)
    command = [sys.executable, "-m", "shenyu_data.cli.main", *words]
    config = ["--config", str(place.folder / "shenyu-data.toml")]
    return subprocess.run([*command, *config], env=environment, check=False).returncode


def xdg(place: Place) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(place.folder / "states")}


def told(request: Request) -> tuple[str, str]:
    document = json.loads(request.body)
    return document["kind"], document["alert"]["code"]
