"""Programs in benchmarks/, as modules."""

import importlib.util
import sys
from types import ModuleType

from support.project import ROOT


def load_benchmark(name: str) -> ModuleType:
    """Import a program without running it."""
    title = f"benchmark_{name}"
    spec = importlib.util.spec_from_file_location(title, ROOT / "benchmarks" / f"{name}.py")
    assert spec
    assert spec.loader
    module = sys.modules[title] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
