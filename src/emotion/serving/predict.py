"""Ask the exported SavedModel."""

from pathlib import Path
from typing import Any

import numpy as np

from emotion.errors import UserError
from emotion.faces import Images
from emotion.runtime import load_tensorflow
from emotion.scoring import Probabilities


def load_saved_model(folder: Path) -> Any:
    """Load a SavedModel with a `serve` endpoint.

    Raises:
        UserError: where it is missing.
    """
    if not (folder / "saved_model.pb").exists():
        raise UserError(f"no SavedModel in {folder}. `dvc repro train` makes it.")
    load_tensorflow()
    import tensorflow as tf

    return tf.saved_model.load(str(folder))


def predict(model: Any, images: Images, batch_size: int) -> Probabilities:
    """Probabilities of the seven emotions.

    Args:
        model: from `load_saved_model`.
        images: (n, 48, 48) uint8, 0..255.
        batch_size: images asked about at once.

    Returns:
        (n, 7) float32.
    """
    batches = [
        model.serve(images[start : start + batch_size, ..., None].astype(np.float32)).numpy()
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(batches)
