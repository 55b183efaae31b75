"""Downloads a file whose SHA-256 is known. An interrupted download goes on where it ended."""

import sys
from pathlib import Path
from urllib.parse import urlsplit

import requests

from emotion.data.sources.archive import MAX_BYTES
from emotion.runtime.errors import UserError
from emotion.runtime.files import file_digest
from emotion.runtime.progress import log_folder_size

TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
PIECE = 2**16  # bytes; a piece that is interrupted is lost


def is_url(path: str) -> bool:
    """Whether a path is the address of a file on the web."""
    return path.startswith(("http://", "https://"))


def download(url: str, sha256: str | None, downloads: Path) -> Path:
    """Download a file, if it is not there yet.

    Args:
        url: an http or https address.
        sha256: the digest of the file, without which nothing is downloaded.
        downloads: the folder for it, and for its part if the download is interrupted.

    Raises:
        UserError: if the digest is missing or different, the file is too large, or the server cannot be reached.
    """
    shown = url_shown(url)
    if sha256 is None:
        raise UserError(
            f"{shown} is not downloaded without a checksum: what an address points to can change. Set fetch.sha256 to"
            " the file's SHA-256, which its publisher states."
        )
    target = downloads / sha256[:16] / (Path(urlsplit(url).path).name or "file")
    if target.exists():
        return target
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    print(f"Downloading {shown}", flush=True)
    try:
        with log_folder_size(part.parent, f"Downloading {shown}"):
            _continue(url, shown, part)
    except requests.RequestException as error:
        raise UserError(
            f"the download of {shown} was interrupted ({type(error).__name__}). Run the command again to resume it."
        ) from None
    found = file_digest(part)
    if found != sha256:
        part.unlink()
        raise UserError(
            f"the SHA-256 of {shown} is {found}, but fetch.sha256 is {sha256}; the download was deleted. Check both:"
            " the file may have been replaced."
        )
    part.rename(target)
    return target


def url_shown(url: str) -> str:
    """An address without its query and password, which may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _continue(url: str, shown: str, part: Path) -> None:
    done = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # nothing is left to download
            return
        if not response.ok:
            raise UserError(f"{shown} cannot be downloaded: HTTP {response.status_code}. Check fetch.path.")
        if response.status_code != 206:
            done = 0  # the server sends the whole file
        size = done + int(response.headers.get("Content-Length", 0))
        with part.open("ab" if done else "wb") as file:
            for piece in response.iter_content(PIECE):
                done += len(piece)
                if max(done, size) > MAX_BYTES:
                    raise UserError(f"{shown} has more than {MAX_BYTES // 2**30} GiB. Use a smaller file.")
                file.write(piece)
        if done < size:
            raise requests.ConnectionError("the connection ended early")
    print(f"{done:,} bytes downloaded", file=sys.stderr)
