"""Loading TensorFlow, which takes seconds and prints messages of its own."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def load_tensorflow(list_devices: bool = True) -> None:
    """Import TensorFlow, configured and without its start-up messages.

    A stage calls this after its parameters are checked and before it imports code that uses TensorFlow.

    Args:
        list_devices: False in a process that will be forked, which a GPU in use does not survive.
    """
    # oneDNN's convolutions are faster on every CPU, not only on those for which TensorFlow enables them.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # No setting silences what C++ prints before its logging is initialized.
    with silent_stderr():
        import tensorflow as tf

        if list_devices:
            tf.config.list_physical_devices()


_stderr_lock = threading.RLock()  # the file descriptor belongs to the whole process


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Discard everything written to file descriptor 2, including output of C++ code."""
    with _stderr_lock:
        saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(null)
