"""The precision of the layers: float32, or bfloat16 if the hardware supports it."""

from pathlib import Path

import keras
import tensorflow as tf

CPU_FEATURES = {"amx_bf16", "avx512_bf16"}
GPU_CAPABILITY = (8, 0)  # the first NVIDIA compute capability with bfloat16


def choose(wanted: str) -> tuple[str, str]:
    """Return float32 or bfloat16, and the reason.

    Args:
        wanted: auto, float32 or bfloat16.
    """
    if wanted != "auto":
        return wanted, "set by train.precision"
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        name = details.get("device_name", "the GPU")
        if details.get("compute_capability", (0, 0)) >= GPU_CAPABILITY:
            return "bfloat16", f"supported by {name}"
        return "float32", f"{name} does not support bfloat16"
    features = sorted(CPU_FEATURES & cpu_flags())
    if features:
        return "bfloat16", f"the processor has {' and '.join(features)}"
    return "float32", "the processor has no bfloat16 in hardware"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the processor's feature flags as reported by Linux; an empty set on other systems."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.partition(":")[2].split()}


def apply(precision: str) -> None:
    """Set the precision of layers that are built from now on; their weights are always float32."""
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
