"""TensorFlow's loading, which takes seconds and talks."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def load_tensorflow(look_for_devices: bool = True) -> None:
    """Import TensorFlow, configured and without its start-up messages.

    Called by a stage once its parameters are checked, before it imports what uses TensorFlow.

    Args:
        look_for_devices: False where the process will be copied, which a GPU in use does not bear.
    """
    # oneDNN's convolutions are faster wherever TensorFlow runs on a CPU, not only on those
    # where they are TensorFlow's default.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # What C++ prints before its logging starts, no setting silences.
    with silent_stderr():
        import tensorflow as tf

        if look_for_devices:
            tf.config.list_physical_devices()


_silencing = threading.RLock()  # the error stream is the whole process's


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Nothing that C++ prints."""
    with _silencing:
        yield from _silent()


def _silent() -> Iterator[None]:
    kept, silence = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silence)
