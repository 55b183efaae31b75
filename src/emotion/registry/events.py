"""Tell another program about registrations and decisions: a POST request to EMOTION_WEBHOOK.

Its signature is that of MLflow's webhooks, which only a tracking server sends, with other names of headers: `v1,` and
the base64 of HMAC-SHA256, with EMOTION_WEBHOOK_SECRET, of `ID.TIMESTAMP.BODY`.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from emotion.runtime.text import printable
from emotion.tracking.uri import redact_credentials

URL_VARIABLE, SECRET_VARIABLE = "EMOTION_WEBHOOK", "EMOTION_WEBHOOK_SECRET"
TIMEOUT = 5.0  # seconds, for everything
Event = Literal["registered", "promoted", "held", "rejected", "rolled_back"]


def notify(event: Event, model: str, version: str, facts: Mapping[str, Any]) -> None:
    """Send an event, if EMOTION_WEBHOOK is set; a failure is printed and stops nothing.

    Args:
        event: what happened.
        model: the name of the registered model.
        version: of the model.
        facts: more about it, as JSON values.
    """
    url = os.environ.get(URL_VARIABLE)
    if not url:
        return
    failures: list[str] = []
    content = {"event": event, "model": model, "version": version, **facts}
    # In a thread, because the name lookup and each read have timeouts of their own.
    thread = threading.Thread(target=_send, args=(url, content, failures), daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    if thread.is_alive():
        failures.append(f"no answer within {TIMEOUT:g} s")
    if failures:
        reason = printable(redact_credentials(f"{failures[0]}"))
        print(
            f"The event {event} was not delivered: {reason}. It is not sent again; check {URL_VARIABLE}.",
            file=sys.stderr,
            flush=True,
        )


def _send(url: str, content: Mapping[str, Any], failures: list[str]) -> None:
    import requests

    body = json.dumps(content, sort_keys=True)
    try:
        answer = requests.post(url, data=body.encode(), headers=_headers(body), timeout=TIMEOUT, allow_redirects=False)
        if answer.status_code >= 300:
            failures.append(f"the receiver answered with status {answer.status_code}")
    except (requests.RequestException, ValueError) as error:
        failures.append(type(error).__name__)


def _headers(body: str) -> dict[str, str]:
    """The headers, with a signature if there is a secret."""
    identifier, timestamp = str(uuid.uuid4()), str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "X-Emotion-Delivery-ID": identifier,
        "X-Emotion-Timestamp": timestamp,
    }
    if secret := os.environ.get(SECRET_VARIABLE):
        signed = hmac.new(secret.encode(), f"{identifier}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
        headers["X-Emotion-Signature"] = f"v1,{base64.b64encode(signed).decode()}"
    return headers
