"""Columns of Arrow tables that hold images and captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dit_run.data.caption_weights import Caption, weighted
from dit_run.problems import InputError

if TYPE_CHECKING:
    import pyarrow

    from dit_run.data.scalar_columns import ScalarColumns

__all__ = ["TableColumns", "encoded_image", "row_name"]

_IMAGES = ("image", "jpg", "jpeg", "png", "webp", "img", "image_bytes")
_CAPTIONS = ("text", "caption", "captions", "prompt", "txt")
_WEIGHTS = ("weights", "weight")


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table that are read."""

    image: str
    captions: tuple[str, ...]
    weights: tuple[str, ...]
    """The column of weights; none, or one."""
    scalars: tuple[str, ...] = ()
    """Columns of numbers that the model takes."""

    @classmethod
    def of(
        cls,
        schema: pyarrow.Schema,
        image: str | None,
        captions: Sequence[str],
        where: str,
        *,
        scalars: Sequence[str] = (),
    ) -> TableColumns:
        """Return the columns that the config names or, for None and nothing, the usual one.

        ``scalars`` are names of numbers that the model takes, of which the table may have some.

        Raises InputError, naming ``where`` and the columns that exist, for a column that is missing or of a type that
        holds no images or captions.
        """
        chosen = (image,) if image else _usual(schema, _IMAGES, "image_column", where)
        texts = tuple(captions) or _usual(schema, _CAPTIONS, "caption_columns", where)
        for name, key, fits, wanted in (
            *((name, "image_column", _holds_images, "bytes, or a struct with bytes") for name in chosen),
            *((name, "caption_columns", _holds_captions, "texts, or lists of texts") for name in texts),
        ):
            if name not in schema.names:
                raise InputError(f"data.{key}: {where} has no column {name!r}; its columns are {_listed(schema)}")
            kind = schema.field(name).type
            if not fits(kind):
                raise InputError(
                    f"data.{key}: the column {name!r} of {where} holds {kind}; expected {wanted}; the columns are "
                    f"{_listed(schema)}"
                )
        weights = tuple(name for name in _WEIGHTS if name in schema.names)[:1]
        return cls(chosen[0], texts, weights, tuple(name for name in scalars if name in schema.names))

    @property
    def read_first(self) -> list[str]:
        """All columns but that of images."""
        return [*dict.fromkeys((*self.captions, *self.weights, *self.scalars))]

    def captions_of(
        self, table: pyarrow.Table, where: str, first: int, numbers: ScalarColumns | None = None
    ) -> Iterator[list[Caption]]:
        """Yield the captions of each row, which may have none. ``first`` is the number of the first row.

        The scalars of each row are added to ``numbers``, by :func:`row_name`. Raises InputError naming ``where`` and
        the row for weights that are not above 0, and for scalars that are no numbers.
        """
        texts = [table.column(name).to_pylist() for name in self.captions]
        weights = [(name, table.column(name).to_pylist()) for name in self.weights]
        scalars = [(name, table.column(name).to_pylist()) for name in self.scalars]
        for row in range(table.num_rows):
            if numbers is not None and scalars:
                values_of_row = {name: values[row] for name, values in scalars}
                numbers.add(row_name(where, first + row), values_of_row, row_name(where, first + row))
            own = [text for values in texts for text in _as_list(values[row])]
            try:
                found = weighted(own, {name: values[row] for name, values in weights})
            except ValueError as error:
                raise InputError(f"{row_name(where, first + row)}: {error}") from error
            stripped = (Caption(" ".join(caption.text.split()), caption.weight) for caption in found)
            yield [caption for caption in stripped if caption.text]


def row_name(where: str, row: int) -> str:
    """Return the name of a row in messages."""
    return f"{where}: row {row}"


def encoded_image(value: Any, column: str) -> bytes:
    """Return the bytes of an image in a cell. Raises OSError for a cell without."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if not data:
        raise OSError(f"the column {column!r} holds no bytes of an image")
    return bytes(data)


def _as_list(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return ["" if each is None else each for each in values]


def _usual(schema: pyarrow.Schema, names: Sequence[str], key: str, where: str) -> tuple[str, ...]:
    found = tuple(name for name in names if name in schema.names)[:1]
    if not found:
        raise InputError(
            f"{where} has none of the columns {', '.join(names)}; its columns are {_listed(schema)}; "
            f"name one in data.{key}"
        )
    return found


def _listed(schema: pyarrow.Schema) -> str:
    return ", ".join(f"{field.name} ({_short(field.type)})" for field in schema) or "none"


def _short(kind: pyarrow.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _holds_images(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return _holds_bytes(kind)


def _holds_bytes(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _holds_captions(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    inner = kind.value_type if types.is_list(kind) or types.is_large_list(kind) else kind
    return bool(types.is_string(inner) or types.is_large_string(inner))
