"""What is being measured on: its name, and how many operations a second its matrix multiplication reaches."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.backends import usable_cpus

SIDE = 2048
EXTENSIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def describe() -> str:
    """As text: "AMD EPYC, 2 processors used, 23 GB, AVX2 AVX-512 ..."; what the system does not tell is left out."""
    processor = platform.processor() or platform.machine()
    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        text = info.read_text()
        processor = next(iter(re.findall(r"model name\s*:\s*(.+)", text)), processor).strip()
        flags = set(next(iter(re.findall(r"flags\s*:\s*(.+)", text)), "").split())
    parts = [processor, f"{usable_cpus()} processors used"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB of memory")
    known = [name for name in EXTENSIONS if name in flags]
    return ", ".join([*parts, f"instructions {', '.join(known)}"] if known else parts)


def peaks() -> dict[str, float]:
    """GFLOP/s of a product of two square matrices, by precision: the most that any network can reach here."""
    try:
        import torch
    except ImportError:
        rng = np.random.default_rng(0)
        a, b = (rng.normal(size=(SIDE, SIDE)).astype(np.float32) for _ in range(2))
        return {"float32": _rate(lambda: a @ b)}
    torch.set_num_threads(usable_cpus())
    found = {}
    for name in ("float32", "bfloat16"):
        one, other = (torch.randn(SIDE, SIDE).to(getattr(torch, name)) for _ in range(2))
        found[name] = _rate(lambda one=one, other=other: torch.mm(one, other))  # type: ignore[misc]
    return found


def _rate(multiply: Callable[[], Any], runs: int = 8) -> float:
    multiply()
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        multiply()
        taken.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(taken) / 1e9
