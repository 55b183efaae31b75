"""Events that are sent to a local receiver."""

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from emotion.params.sections import Params
from emotion.registry import events
from emotion.registry.events import SECRET_VARIABLE, URL_VARIABLE, notify
from emotion.registry.promotion.promote import promote, rollback
from support.versions import NAME, aliases, wrong_in

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow on its own wrapper of Keras


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps the requests that it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.status, self.delay = 200, 0.0

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(content["event"], content["version"]) for content in map(json.loads, (it[1] for it in self.received))]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        time.sleep(self.server.delay)
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((dict(self.headers), content))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{server.server_port}/hook?token=secret")
        yield server
        server.shutdown()


def test_decisions_are_sent(add: Any, lenient: Params, receiver: Receiver) -> None:
    for share in (0.2, 0.1, 0.15, 0.7):
        promote(lenient, add(wrong_in(share)), reason="a test")
    promote(lenient, "3", dry_run=True)
    rollback(NAME, "it was slow")
    assert receiver.events == [
        ("promoted", "1"), ("promoted", "2"), ("held", "3"), ("rejected", "4"), ("rolled_back", "1"),
    ]  # fmt: skip
    content = json.loads(receiver.received[1][1])
    assert (content["model"], content["alias"], content["before"], content["reason"]) == (
        NAME, "champion", "1", "a test",
    )  # fmt: skip


def test_an_event_is_signed_like_those_of_mlflow(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "hush")
    notify("registered", NAME, "1", {})
    ((headers, body),) = receiver.received
    signed = f"{headers['X-Emotion-Delivery-ID']}.{headers['X-Emotion-Timestamp']}.{body.decode()}"
    expected = base64.b64encode(hmac.new(b"hush", signed.encode(), hashlib.sha256).digest()).decode()
    assert headers["X-Emotion-Signature"] == f"v1,{expected}"


def test_a_receiver_that_fails_does_not_stop_a_decision(
    add: Any, lenient: Params, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.status = 500
    assert promote(lenient, add(wrong_in(0.1))).outcome == "PROMOTED"
    assert aliases() == {"champion": "1"}
    printed = capsys.readouterr().err
    assert "The event promoted was not delivered: the receiver answered with status 500." in printed
    assert "secret" not in printed


def test_a_receiver_that_does_not_answer_is_given_up_after_the_timeout(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(events, "TIMEOUT", 0.2)
    receiver.delay = 30
    started = time.monotonic()
    notify("registered", NAME, "1", {})
    assert time.monotonic() - started < 20
    assert "was not delivered" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "not a url", "ftp://x", "http://"])
def test_a_wrong_address_is_reported_and_stops_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    notify("held", NAME, "1", {})
    assert "The event held was not delivered: " in capsys.readouterr().err
