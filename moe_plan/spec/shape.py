"""What a schema expects at a path: the types and bounds that an error message speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moe_plan.spec.yaml_reader import Path, Value


@dataclass(frozen=True, slots=True)
class Member:
    """One type that a value may have, with the bounds that apply to it."""

    annotation: Any
    bounds: tuple[Any, ...]

    def bound(self, name: str) -> Any:
        """The bound `ge`, `le`, `min_length`, `max_length` or `pattern`, or None where there is none."""
        found = (getattr(bound, name, None) for bound in self.bounds)
        return next((value for value in found if value is not None), None)

    @property
    def model(self) -> type[BaseModel] | None:
        """The spec class, where this member is one."""
        is_model = isinstance(self.annotation, type) and issubclass(self.annotation, BaseModel)
        return self.annotation if is_model else None

    @property
    def choices(self) -> tuple[str, ...]:
        """The words of a Literal."""
        return get_args(self.annotation) if get_origin(self.annotation) is Literal else ()


def members(annotation: Any, bounds: tuple[Any, ...] = ()) -> tuple[Member, ...]:
    """The alternatives of a type, unions and Annotated unfolded, without None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extra = get_args(annotation)
        return members(inner, (*bounds, *_unpacked(extra)))
    if origin in (Union, UnionType):
        return tuple(member for part in get_args(annotation) for member in members(part, bounds))
    return () if annotation is type(None) else (Member(annotation, bounds),)


def expected_at(root: type[BaseModel], path: Path, value: Value) -> tuple[Member, ...]:
    """What `root` expects at `path` of the document `value`; nothing where the path is not in the schema."""
    current = members(root)
    for part in path:
        current = _step(current, part, value)
        value = _child(value, part)
    return current


def model_for(candidates: Iterable[Member], value: Value) -> type[BaseModel] | None:
    """The spec class that a mapping is meant to be: the only one, or the one its `kind` names."""
    models = [member.model for member in candidates if member.model]
    if len(models) == 1:
        return models[0]
    kind = value.get("kind") if isinstance(value, dict) else None
    return next((model for model in models if kind in _kinds(model)), None)


def kinds(candidates: Iterable[Member]) -> tuple[str, ...]:
    """The values of `kind` that choose between spec classes."""
    return tuple(kind for member in candidates if member.model for kind in _kinds(member.model))


def _kinds(model: type[BaseModel]) -> tuple[str, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _step(current: tuple[Member, ...], part: str | int, value: Value) -> tuple[Member, ...]:
    if isinstance(value, tuple):
        return _items(current, tuple, 0)
    model = model_for(current, value)
    if model is None:
        return _items(current, dict, 1)
    field = model.model_fields.get(str(part))
    return members(field.annotation, tuple(field.metadata)) if field else ()


def _items(current: tuple[Member, ...], container: type, argument: int) -> tuple[Member, ...]:
    arguments = (get_args(m.annotation) for m in current if get_origin(m.annotation) is container)
    return tuple(member for args in arguments for member in members(args[argument]))


def _child(value: Value, part: str | int) -> Value:
    if isinstance(value, dict):
        return value.get(str(part))
    if isinstance(value, tuple) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def _unpacked(extra: Iterable[Any]) -> tuple[Any, ...]:
    """Pydantic's Field(...) holds its bounds in a list of its own."""
    return tuple(bound for item in extra for bound in getattr(item, "metadata", [item]))
