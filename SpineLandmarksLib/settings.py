"""Settings as frozen dataclasses, to and from plain YAML or JSON values."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from SpineLandmarksLib.errors import RecipeError


def from_dict(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    """A dataclass from plain values, nested dataclasses included; RecipeError for an unknown or impossible setting."""
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    unknown = sorted(map(str, set(values) - set(known)))
    if unknown:
        raise RecipeError(f"{where}: expected settings of {', '.join(known)}; got {', '.join(unknown)}")
    return kind(**{key: _convert(hints[key], value, f"{where}, {key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if get_origin(hint) in (Union, UnionType):
        return None if value is None else _convert(_not_none(hint), value, where)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, _settings(value, where), where)
    if get_origin(hint) is tuple:
        return _tuple(hint, value, where)
    if get_origin(hint) is dict:
        return _settings(value, where)
    if hint is float:
        return _number(value, where)
    if hint in (int, bool, str) and type(value) is not hint:  # a bool is an int to isinstance
        raise RecipeError(f"{where}: expected {hint.__name__}; got {value!r}")
    return value


def _not_none(hint: Any) -> Any:
    (kind,) = (part for part in get_args(hint) if part is not NoneType)
    return kind


def _settings(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecipeError(f"{where}: expected settings; got {value!r}")
    return value


def _tuple(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    """tuple[int, int] has a length; tuple[float, ...] has any."""
    kinds = get_args(hint)
    if not isinstance(value, (list, tuple)):
        raise RecipeError(f"{where}: expected a list; got {value!r}")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise RecipeError(f"{where}: expected {len(kinds)} values; got {value!r}")
    return tuple(_convert(kind, part, where) for kind, part in zip(kinds, value, strict=True))


def _number(value: Any, where: str) -> float:
    """YAML reads 1e-3, without a dot, as text: text that is a number counts as one."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not isfinite(number):
        raise RecipeError(f"{where}: expected a number; got {value!r}")
    return number


def to_dict(settings: Any) -> dict[str, Any]:
    """Plain values of a dataclass, ready for YAML or JSON."""
    return {key: _plain(value) for key, value in asdict(settings).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value
