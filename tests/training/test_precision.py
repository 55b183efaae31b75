"""The choice of numeric precision."""

from pathlib import Path

import pytest
import tensorflow as tf

from emotion.training import precision


@pytest.mark.parametrize(
    ("flags", "chosen", "reason"),
    [
        ("fpu avx2 avx512_bf16 amx_bf16", "bfloat16", "the processor has amx_bf16 and avx512_bf16"),
        ("fpu avx2 f16c", "float32", "the processor has no bfloat16 in hardware"),
    ],
)
def test_precision_is_chosen_by_cpu_features(
    flags: str, chosen: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("a GPU decides here")
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    found = precision.cpu_flags(tmp_path / "cpuinfo")
    monkeypatch.setattr(precision, "cpu_flags", lambda: found)
    assert precision.choose("auto") == (chosen, reason)
    assert precision.choose("float32")[0] == "float32"
