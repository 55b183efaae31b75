"""Loading TensorFlow, which takes seconds and prints messages of its own."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def load_tensorflow(list_devices: bool = True, trains: bool = False) -> None:
    """Import TensorFlow, configured and without its start-up messages.

    A stage calls this after its parameters are checked and before it imports code that uses TensorFlow.

    Args:
        list_devices: False in a process that will be forked, which a GPU in use does not survive.
        trains: whether the process trains networks. The trainer lets two chains of operations run in parallel, so
            each operation gets half of the cores.
    """
    # oneDNN's convolutions are faster on every CPU, not only on those for which TensorFlow enables them.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if trains:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, cores // 2)))
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
