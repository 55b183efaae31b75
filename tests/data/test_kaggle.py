"""The fetch stage with the real Kaggle client and a local stand-in for Kaggle's server."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.archives import layout, write_zip
from support.project import ROOT

TOKEN = "KGAT_correct_horse_battery_staple"


KEY = "0123456789abcdef0123456789abcdef"


DATASET = "aadityasinghal/facial-expression-dataset"


# The unmodified code, but with a local server's address and no delay between retries.
LOCAL = """
import sys, time
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = sys.argv[1]
time.sleep = lambda seconds: None
from emotion import fetch
"""
STAGE = f"""{LOCAL}
fetch.run_main("fetch", fetch.main)
"""
# The stage's work without an MLflow run, which starts in a third of the time.
WORK = f"""{LOCAL}
from emotion.params.load import load_params
fetch.run_main("fetch", lambda _: fetch.fetch(load_params().fetch, fetch.ARCHIVE, fetch.FACES))
"""


class Kaggle(ThreadingHTTPServer):
    """A server with one token, one key and one dataset that can drop connections."""

    def __init__(self, archive: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.archive = archive
        self.cuts = 0  # number of downloads to interrupt half-way
        self.status = 0  # if set, the HTTP status of every download
        self.asked: list[dict[str, Any]] = []
        self.ranges: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Kaggle

    def log_message(self, *_: object) -> None:
        pass

    def respond(self, status: int, content: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if self.path.endswith("/IntrospectToken"):
            known = body.get("token") == TOKEN
            answer = {"active": known, "username": "tester" if known else ""}
            self.respond(200, json.dumps(answer).encode(), Content_Type="application/json")
        elif not self.is_authenticated():
            self.respond(401)
        elif self.path.endswith("/DownloadDataset"):
            self.server.asked.append(body)
            if self.server.status or f"{body['ownerSlug']}/{body['datasetSlug']}" != DATASET:
                self.respond(self.server.status or 404)
            else:  # like Kaggle, redirect to a signed URL
                self.respond(302, b"", Location=f"{self.server.url}/storage.zip?signature=secret-signature")
        else:
            self.respond(404)

    def do_GET(self) -> None:
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start:
            self.server.ranges.append(self.headers["Range"])
        content = self.server.archive[start:]
        self.send_response(206 if start else 200)
        for name, value in {
            "Content-Length": str(len(content)), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            "Accept-Ranges": "bytes", "ETag": '"one"', "Content-Type": "application/zip",
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if self.server.cuts:
            self.server.cuts -= 1
            content = content[: len(content) // 2]
        self.wfile.write(content)
        self.close_connection = True

    def is_authenticated(self) -> bool:
        basic = base64.b64encode(f"tester:{KEY}".encode()).decode()
        return self.headers.get("Authorization") in (f"Bearer {TOKEN}", f"Basic {basic}")


@pytest.fixture
def kaggle(tmp_path: Path) -> Iterator[Kaggle]:
    # The client writes chunks of 1 MiB, so only a larger file can be interrupted and resumed.
    files = layout() | {"padding": os.urandom(6 * 2**20)}
    server = Kaggle(write_zip(tmp_path / "served.zip", files).read_bytes())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Fetch:
    """Fetches in an empty folder with an empty home directory."""

    def __init__(self, folder: Path, url: str, store: Path) -> None:
        self.folder, self.home, self.url = folder / "work", folder / "home", url
        self.program = WORK
        self.folder.mkdir()
        shutil.copy(store, self.folder / "mlflow.db")
        (self.home / ".kaggle").mkdir(parents=True)

    def __call__(self, token: str | None = None, **changes: Any) -> subprocess.CompletedProcess[str]:
        content = yaml.safe_load((ROOT / "params.yaml").read_text())
        content["fetch"] |= {"source": "kaggle", **changes}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(content))
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("KAGGLE_", "MLFLOW_", "DVC_"))}
        environment = inherited | {"HOME": str(self.home), "DVC_ROOT": str(self.folder)}
        if token:
            environment["KAGGLE_API_TOKEN"] = token
        return subprocess.run(
            [sys.executable, "-c", self.program, self.url],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    @property
    def archive(self) -> Path:
        return self.folder / "data/raw/faces.zip"

    def assert_refused(self, done: subprocess.CompletedProcess[str], *words: str) -> None:
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("fetch: ")
        for word in words:
            assert word in last
        assert "Traceback" not in done.stderr
        assert not self.archive.exists()
        self.assert_no_secret_anywhere(done)

    def assert_no_secret_anywhere(self, done: subprocess.CompletedProcess[str]) -> None:
        written = b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())
        for secret in (TOKEN, KEY, "secret-signature"):
            assert secret not in done.stdout + done.stderr
            assert secret.encode() not in written


@pytest.fixture
def fetch(tmp_path: Path, kaggle: Kaggle, migrated_store: Path) -> Fetch:
    return Fetch(tmp_path, kaggle.url, migrated_store)


def test_the_archive_is_downloaded_unchanged_with_a_token(fetch: Fetch, kaggle: Kaggle) -> None:
    fetch.program = STAGE
    done = fetch(TOKEN)
    assert done.returncode == 0, done.stderr
    assert fetch.archive.read_bytes() == kaggle.archive
    source = json.loads((fetch.folder / "data/raw/source.json").read_text())
    assert source["origin"] == DATASET
    assert source["images"] == len(layout())
    assert not list((fetch.folder / "data/downloads").rglob("*.zip"))
    fetch.assert_no_secret_anywhere(done)


def test_a_legacy_api_key_is_accepted(fetch: Fetch, kaggle: Kaggle) -> None:
    key = fetch.home / ".kaggle" / "kaggle.json"
    key.write_text(json.dumps({"username": "tester", "key": KEY}))
    key.chmod(0o600)
    done = fetch()
    assert done.returncode == 0, done.stderr
    fetch.assert_no_secret_anywhere(done)


@pytest.mark.parametrize("name", ["access_token", "access_token.txt"])
def test_a_token_file_is_accepted(fetch: Fetch, name: str) -> None:
    (fetch.home / ".kaggle" / name).write_text(TOKEN)
    done = fetch()
    assert done.returncode == 0, done.stderr
    fetch.assert_no_secret_anywhere(done)


def test_a_dataset_version_is_requested_by_number(fetch: Fetch, kaggle: Kaggle) -> None:
    assert fetch(TOKEN, version=3).returncode == 0
    assert kaggle.asked[0]["datasetVersionNumber"] == 3


def test_the_error_for_missing_credentials_says_where_to_put_them(fetch: Fetch) -> None:
    done = fetch()
    fetch.assert_refused(done, "no Kaggle credentials found", "KAGGLE_API_TOKEN", "~/.kaggle/access_token")


def test_the_error_for_a_wrong_token_does_not_show_it(fetch: Fetch) -> None:
    fetch.program = STAGE
    done = fetch("KGAT_wrong_token")
    fetch.assert_refused(done, "Kaggle does not accept the token in KAGGLE_API_TOKEN")
    assert "KGAT_wrong_token" not in done.stdout + done.stderr


def test_a_wrong_key_is_rejected(fetch: Fetch) -> None:
    (fetch.home / ".kaggle" / "kaggle.json").write_text(json.dumps({"username": "tester", "key": "wrong"}))
    fetch.assert_refused(fetch(), "does not accept the credentials (HTTP 401)")


@pytest.mark.parametrize(("status", "words"), [(403, "terms"), (404, "no dataset"), (500, "HTTP 500")])
def test_an_http_error_is_explained(fetch: Fetch, kaggle: Kaggle, status: int, words: str) -> None:
    kaggle.status = status
    fetch.assert_refused(fetch(TOKEN), words)


def test_an_interrupted_download_is_resumed(fetch: Fetch, kaggle: Kaggle) -> None:
    kaggle.cuts = 2
    done = fetch(TOKEN)
    assert done.returncode == 0, done.stderr
    assert fetch.archive.read_bytes() == kaggle.archive
    assert len(kaggle.ranges) == 2


def test_a_repeatedly_interrupted_download_is_resumed_in_the_next_run(fetch: Fetch, kaggle: Kaggle) -> None:
    kaggle.cuts = 100
    fetch.assert_refused(fetch(TOKEN), "was interrupted", "Run the command again to resume it")
    kaggle.cuts = 0
    kaggle.ranges.clear()
    assert fetch(TOKEN).returncode == 0
    assert fetch.archive.read_bytes() == kaggle.archive
    assert kaggle.ranges[0] != "bytes=0-"


def test_a_web_page_instead_of_the_archive_is_reported_as_kaggles(fetch: Fetch, kaggle: Kaggle) -> None:
    kaggle.archive = b"<!doctype html><html>Sign in</html>"
    fetch.assert_refused(fetch(TOKEN), f"the archive of {DATASET} on Kaggle is a web page")


def test_a_checksum_mismatch_is_rejected(fetch: Fetch, kaggle: Kaggle) -> None:
    fetch.assert_refused(fetch(TOKEN, sha256="0" * 64), "on Kaggle is ")
    right = hashlib.sha256(kaggle.archive).hexdigest()
    assert fetch(TOKEN, sha256=right).returncode == 0


def test_the_error_for_an_unreachable_kaggle_names_the_alternative(fetch: Fetch) -> None:
    fetch.url = "http://127.0.0.1:9"
    fetch.assert_refused(fetch(TOKEN), "cannot be reached", "fetch.source=path")
