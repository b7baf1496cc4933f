"""Read JSON without surprises: no duplicate keys, no NaN, and every wrong field named with what came."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.plain_text import read_text


def load_json(path: str | os.PathLike[str]) -> Any:
    """The content of a UTF-8 JSON file. Raises FormatError when it cannot be read, repeats a key or holds NaN."""
    return parse_json(read_text(path, "JSON"), os.fspath(path))


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text. Raises FormatError, which begins with `where`, as `load_json`."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except RecursionError as error:
        raise FormatError(f"{where}: expected plain JSON; got lists within lists too deep") from error
    except ValueError as error:  # wrong JSON, a number of thousands of digits
        raise FormatError(f"{where}: expected valid JSON; {error}") from error


def load_objects(path: str | os.PathLike[str]) -> Iterator[Fields]:
    """The objects of a JSON file that is one list of objects. Raises FormatError as `load_json`."""
    content = load_json(path)
    if not isinstance(content, list):
        raise FormatError(f"{os.fspath(path)}: expected a list of objects; got {short_repr(content)}")
    for index, value in enumerate(content):
        yield Fields.of(value, f"{os.fspath(path)}, [{index}]")


@dataclass(frozen=True)
class Fields:
    """A JSON object together with where it stands in its file, so that each getter can say what is wrong and where."""

    values: dict[str, Any]
    where: str

    @classmethod
    def of(cls, value: object, where: str) -> Fields:
        if not isinstance(value, dict):
            raise FormatError(f"{where}: expected an object with named fields; got {short_repr(value)}")
        return cls(value, where)

    def has(self, key: str) -> bool:
        """True when the field is there and not null."""
        return self.values.get(key) is not None

    def text(self, key: str) -> str:
        value = self._required(key)
        return value if isinstance(value, str) else self._fail(key, "a text", value)

    def number(self, key: str) -> float:
        value = self._required(key)
        return as_number(value) if is_number(value) else self._fail(key, "a finite number", value)

    def whole_number(self, key: str) -> int:
        value = self._required(key)
        return int(value) if is_number(value) and value == int(value) else self._fail(key, "a whole number", value)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        value = self._required(key)
        if isinstance(value, list) and len(value) == count and all(map(is_number, value)):
            return tuple(map(as_number, value))
        self._fail(key, f"{count} finite numbers", value)

    def flag(self, key: str) -> bool:
        value = self._required(key)
        return value if isinstance(value, bool) else self._fail(key, "true or false", value)

    def list(self, key: str) -> list[Any]:
        value = self._required(key)
        return value if isinstance(value, list) else self._fail(key, "a list", value)

    def objects(self, key: str) -> Iterator[Fields]:
        """The objects of the list `key`, each with its place."""
        for index, value in enumerate(self.list(key)):
            yield Fields.of(value, f"{self.where}, {key}[{index}]")

    def _required(self, key: str) -> Any:
        if key not in self.values:
            found = ", ".join(map(repr, self.values)) or "none"
            raise FormatError(f"{self.where}: expected a field '{key}'; found {found[:200]}")
        return self.values[key]

    def _fail(self, key: str, expected: str, value: object) -> NoReturn:
        raise FormatError(f"{self.where}: expected {expected} in '{key}'; got {short_repr(value)}")


def is_number(value: object) -> bool:
    """True for an int or float that a float can hold. JSON's true and false are no numbers.

    >>> is_number(3), is_number(True), is_number("3"), is_number(10**400)
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def as_number(value: Any) -> float:
    return float(value)


def short_repr(value: object) -> str:
    """A short form of a value for an error message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"expected each name once in an object; got {key!r} twice")
        result[key] = value
    return result


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"expected finite numbers; got {text}")
