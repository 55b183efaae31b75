"""Downloads a dataset from Kaggle, unmodified, with Kaggle's own client."""

import contextlib
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from emotion.runtime.errors import UserError
from emotion.runtime.progress import log_folder_size

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

_WAYS_TO_SIGN_IN = (
    "Create a token at https://www.kaggle.com/settings and set it as KAGGLE_API_TOKEN or save it"
    " in ~/.kaggle/access_token (or save a legacy key in ~/.kaggle/kaggle.json)."
)


def fetch_kaggle(dataset: str, version: int | None, downloads: Path) -> Path:
    """Download `dataset` (owner/name) as one zip file; return where it is.

    An interrupted download stays in `downloads` and is resumed the next time.

    Raises:
        UserError: if there are no valid credentials, the dataset is unknown, or Kaggle cannot
            be reached. No message contains a credential or a signed URL.
    """
    folder = downloads / dataset / str(version or "newest")
    folder.mkdir(parents=True, exist_ok=True)
    name = dataset if version is None else f"{dataset}/{version}"
    api = _sign_in()
    title = f"Downloading {name} from Kaggle"
    print(title, flush=True)
    terminal = sys.stderr.isatty()  # the client's progress bar would be one endless line in a log
    try:
        with contextlib.nullcontext() if terminal else log_folder_size(folder, title):
            api.dataset_download_files(name, path=str(folder), quiet=not terminal)
    except requests.HTTPError as error:
        raise UserError(_explain(name, error.response.status_code)) from None
    except (requests.RequestException, ValueError) as error:
        raise UserError(
            f"the download of {name} from Kaggle was interrupted ({type(error).__name__})."
            " Run the command again to resume it."
        ) from None
    return folder / f"{dataset.split('/')[1]}.zip"


def _sign_in() -> "KaggleApi":
    """Return an authenticated client. Credentials may be anywhere that Kaggle's client looks for them."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # hides the help page about a missing token
            # Importing kaggle signs in, so no other module may import it.
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
        raise UserError(
            f"Kaggle rejected the sign-in (HTTP {error.response.status_code}). {_WAYS_TO_SIGN_IN}"
        ) from None
    except requests.RequestException as error:
        raise UserError(
            f"Kaggle cannot be reached ({type(error).__name__}). Check the network, or download"
            " the zip file on another machine and use fetch.source=path."
        ) from None
    return api


def _explain(name: str, status: int) -> str:
    if status == 401:
        return f"Kaggle does not accept the credentials (HTTP 401). {_WAYS_TO_SIGN_IN}"
    if status == 403:
        return (
            f"Kaggle denied access to {name} (HTTP 403): the credentials are wrong, or you have not accepted the"
            f" dataset's terms at https://www.kaggle.com/datasets/{'/'.join(name.split('/')[:2])}. {_WAYS_TO_SIGN_IN}"
        )
    if status == 404:
        return f"Kaggle has no dataset {name} (HTTP 404). Check fetch.dataset and fetch.version."
    return f"Kaggle returned HTTP {status} for {name}. Try again later."
