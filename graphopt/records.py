"""Read dataclasses from files, with each field checked against its annotated type; write them as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
FIELD_TYPES: dict[type, dict[str, Any]] = {}


def record(kind: type[T], data: Any, where: str) -> T:
    """A dataclass from a table of TOML or an object of JSON; inner dataclasses may be made already.

    Lists become tuples. An integer annotated with a function may be text, which the function converts. Raises
    ``ValueError`` with the faulty field and what it should be, ``TypeError`` for a missing field.
    """
    hints = field_types(kind)
    data = table(data, where)
    if unknown := sorted(set(data) - set(hints)):
        raise ValueError(f"{where} has no {', '.join(unknown)}; it has {', '.join(hints)}")
    return kind(**{name: read(value, hints[name], where, name) for name, value in data.items()})


def table(data: Any, where: str) -> dict[str, Any]:
    """The data as a dictionary; raises ``ValueError`` if it is not one."""
    if not isinstance(data, dict):
        raise ValueError(f"{where} = {data!r} is not a table")
    return data


def read(value: Any, hint: Any, where: str, name: str) -> Any:
    """The value of a field from its value in the file."""
    value = tuple(value) if isinstance(value, list) else value
    for option in options(hint):
        if isinstance(value, str) and get_origin(option) is Annotated:
            return get_args(option)[1](value)
        made = value is None or type(value) is option
        if isinstance(option, type) and dataclasses.is_dataclass(option) and not made:
            return record(option, value, f"{where}.{name}")
    if not fits(value, hint):
        raise ValueError(f"{where}: {name} = {value!r} is not {type_name(hint)}")
    return value


def fits(value: Any, hint: Any) -> bool:
    """Whether a value has an annotated type. An integer counts as a float, a bool not as an integer."""
    if len(options(hint)) > 1:
        return any(fits(value, option) for option in options(hint))
    if get_origin(hint) is Annotated:
        return fits(value, get_args(hint)[0])
    if get_origin(hint) is tuple:
        items = get_args(hint)
        same = items[-1:] == (...,)
        hints = items[:1] * len(value) if same and isinstance(value, tuple) else items
        return isinstance(value, tuple) and len(value) == len(hints) and all(map(fits, value, hints))
    if get_origin(hint) is dict:
        keys, values = get_args(hint)
        return type(value) is dict and all(fits(k, keys) and fits(v, values) for k, v in value.items())
    if hint is float:
        return type(value) in (int, float)
    return hint is Any or type(value) is hint


def options(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the single type itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def type_name(hint: Any) -> str:
    """The name of a type for messages."""
    bare = [get_args(option)[0] if get_origin(option) is Annotated else option for option in options(hint)]
    return " or ".join("None" if t is types.NoneType else getattr(t, "__name__", str(t)) for t in bare)


def field_types(kind: type) -> dict[str, Any]:
    """The annotated types of the fields of a dataclass, by name; cached, since finding them is slow."""
    if kind not in FIELD_TYPES:
        hints = get_type_hints(kind, include_extras=True)
        FIELD_TYPES[kind] = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return FIELD_TYPES[kind]


JSON_VERSION = 1
"""Of what ``to_json`` writes of reports. It grows if a field is removed, renamed or gets another meaning."""


def to_json(report: object, **beside: object) -> str:
    """A dataclass as a JSON object, after a version and the fields of ``beside``; infinity and NaN become null."""
    fields = plain(report)
    assert isinstance(fields, dict)
    return json.dumps({"version": JSON_VERSION, **beside, **fields}, indent=2, allow_nan=False)


def plain(data: object) -> object:
    """Dataclasses, mappings, sequences and numbers as plain JSON values."""
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        return {field.name: plain(getattr(data, field.name)) for field in dataclasses.fields(data)}
    match data:
        case Mapping():
            return {str(key): plain(value) for key, value in data.items()}
        case list() | tuple():
            return [plain(value) for value in data]
        case float() if not math.isfinite(data):
            return None
    return data
