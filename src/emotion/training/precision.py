"""The arithmetic of the layers: float32, or bfloat16 where the hardware has it."""

from pathlib import Path

import keras
import tensorflow as tf

CPU_FEATURES = {"amx_bf16", "avx512_bf16"}
GPU_CAPABILITY = (8, 0)  # NVIDIA's first with bfloat16


def choose(wanted: str) -> tuple[str, str]:
    """float32 or bfloat16, and why.

    Args:
        wanted: auto, float32 or bfloat16.
    """
    if wanted != "auto":
        return wanted, "as train.precision says"
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        name = details.get("device_name", "the GPU")
        if details.get("compute_capability", (0, 0)) >= GPU_CAPABILITY:
            return "bfloat16", f"{name} has it in hardware"
        return "float32", f"{name} has no bfloat16"
    found = sorted(CPU_FEATURES & cpu_flags())
    if found:
        return "bfloat16", f"the processor has {' and '.join(found)}"
    return "float32", "the processor has no bfloat16 in hardware"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What Linux says the processor can do; nothing elsewhere."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.partition(":")[2].split()}


def apply(precision: str) -> None:
    """Let layers built from now on compute so; their weights are float32 in any case."""
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
