"""A dataset on Kaggle, downloaded as it is by Kaggle's own client."""

import contextlib
import io
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from emotion.runtime.errors import UserError
from emotion.runtime.progress import log_folder_size

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

_WAYS_TO_SIGN_IN = (
    "Make a token at https://www.kaggle.com/settings and put it into KAGGLE_API_TOKEN or"
    " ~/.kaggle/access_token (or an older key into ~/.kaggle/kaggle.json)."
)


def fetch_kaggle(dataset: str, version: int | None, downloads: Path, destination: Path) -> None:
    """Download `dataset` (owner/name) as one zip to `destination`.

    A download that was cut goes on from its part under `downloads` the next time.

    Raises:
        UserError: without valid credentials, for an unknown dataset, or where Kaggle cannot
            be reached. No message holds a credential or a signed address.
    """
    folder = downloads / dataset / str(version or "newest")
    folder.mkdir(parents=True, exist_ok=True)
    name = dataset if version is None else f"{dataset}/{version}"
    api = _sign_in()
    title = f"Downloading {name} from Kaggle"
    print(title, flush=True)
    terminal = sys.stderr.isatty()  # where the client draws a bar; in a log it would be one endless line
    try:
        with contextlib.nullcontext() if terminal else log_folder_size(folder, title):
            api.dataset_download_files(name, path=str(folder), quiet=not terminal)
    except requests.HTTPError as error:
        raise UserError(_explain(name, error.response.status_code)) from None
    except (requests.RequestException, ValueError) as error:
        raise UserError(
            f"the download of {name} from Kaggle broke off ({type(error).__name__})."
            " Run again: it goes on where it stopped."
        ) from None
    shutil.move(folder / f"{dataset.split('/')[1]}.zip", destination)


def _sign_in() -> "KaggleApi":
    """An authenticated client, from any of the client's own places for credentials."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # a page of help on a missing token
            # Importing kaggle signs in, so nothing else may import it.
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = KaggleApi()
            api.authenticate()
    except SystemExit:
        from kagglesdk import get_access_token_from_env

        token, place = get_access_token_from_env()
        if token:
            raise UserError(f"Kaggle does not accept the token in {place}. {_WAYS_TO_SIGN_IN}") from None
        raise UserError(f"no Kaggle credentials found. {_WAYS_TO_SIGN_IN}") from None
    except requests.HTTPError as error:
        raise UserError(_explain("the sign-in", error.response.status_code)) from None
    except requests.RequestException as error:
        raise UserError(
            f"Kaggle cannot be reached ({type(error).__name__}). Check the network, or download"
            " the zip elsewhere and use fetch.source=archive."
        ) from None
    return api


def _explain(name: str, status: int) -> str:
    if status == 401:
        return f"Kaggle does not accept the credentials (HTTP 401). {_WAYS_TO_SIGN_IN}"
    if status == 403:
        return (
            f"Kaggle refuses {name} (HTTP 403): the credentials are wrong, or the dataset's terms"
            f" are not accepted yet at https://www.kaggle.com/datasets/{name}. {_WAYS_TO_SIGN_IN}"
        )
    if status == 404:
        return f"Kaggle has no dataset {name} (HTTP 404). Check fetch.dataset and fetch.version."
    return f"Kaggle answered HTTP {status} for {name}. Try again later."
