"""Settings as frozen dataclasses, to and from plain YAML or JSON values."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_origin, get_type_hints

from SpineLandmarksLib.errors import RecipeError


def from_dict(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    """A dataclass from plain values, nested dataclasses included; RecipeError for an unknown setting."""
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise RecipeError(f"{where}: expected settings of {', '.join(known)}; got {', '.join(unknown)}")
    return kind(**{key: _convert(hints[key], value, f"{where}, {key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise RecipeError(f"{where}: expected settings; got {value!r}")
        return from_dict(hint, value, where)
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(value)
    if hint is float and isinstance(value, (int, str)):
        try:
            return float(value)
        except ValueError as error:
            raise RecipeError(f"{where}: expected a number; got {value!r}") from error
    if hint in (int, float, bool, str) and not isinstance(value, hint):
        raise RecipeError(f"{where}: expected {hint.__name__}; got {value!r}")
    return value


def to_dict(settings: Any) -> dict[str, Any]:
    """Plain values of a dataclass, ready for YAML or JSON."""
    return {key: _plain(value) for key, value in asdict(settings).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value
