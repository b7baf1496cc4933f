"""Types of command-line arguments that only the laboratory has."""

from __future__ import annotations

import argparse


def minutes(text: str) -> float:
    """Parse "2" or "0.5"."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected minutes such as 2 or 0.5; got {text!r}")
    return value


def names(text: str) -> tuple[str, ...]:
    """Parse "light,torch"."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
