"""The URI of the tracking store, and the credentials in it, which are never shown."""

import os
import re
from urllib.parse import quote, unquote

from emotion.runtime.errors import UserError
from emotion.runtime.paths import project_root

MIN_SECRET = 4  # characters; replacing shorter passwords would damage other words


def tracking_uri() -> str:
    """The URI of the tracking store. A relative SQLite path starts at the project's root."""
    root = project_root().resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, separator, path = uri.partition(":///")
    if scheme == "sqlite" and separator:
        return f"sqlite:///{root / path}"
    _check_credentials(uri)
    return uri


def _check_credentials(uri: str) -> None:
    """Raise an error, without showing the URI, if it is unclear where its password ends."""
    scheme, _, rest = uri.rpartition("://")
    credentials, at, host = rest.partition("@")
    if at and (not scheme or "@" in host or not uri.isprintable() or re.search(r"[/?#\[\]\\\s]", credentials)):
        raise UserError(
            "MLFLOW_TRACKING_URI is not of the form SCHEME://USER:PASSWORD@HOST, or its password contains one of"
            " / @ ? # [ ] \\ or a blank. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for a server; in a"
            " database's URI, percent-encode the character, such as %2F for /."
        )


def redact_credentials(text: str) -> str:
    """Remove user names and passwords from the URIs in a text, and this process's passwords from anywhere in it."""
    text = re.sub(r"://[^/\s]*@", "://", text)
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


def _secrets() -> list[str]:
    """The passwords in the environment, as they are and percent-encoded, the longest first."""
    secrets = {os.environ.get(name, "") for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")}
    userinfo = os.environ.get("MLFLOW_TRACKING_URI", "").partition("://")[2].rpartition("@")[0]
    secrets.add(userinfo.partition(":")[2])
    secrets |= {unquote(secret) for secret in secrets} | {quote(secret, safe="") for secret in secrets}
    return sorted((secret for secret in secrets if len(secret) >= MIN_SECRET), key=len, reverse=True)
