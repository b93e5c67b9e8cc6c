"""
The one change that a user's config.pbtxt needs: its top-level `name` is removed.

Triton insists that `name`, if given, equals the directory. The rest stays as
written, byte for byte: printing a parsed message again would lose comments and
every field that this client's schema does not know yet. The schema is used to
find errors early and to say where they are; unknown fields are let through.
"""

from __future__ import annotations

import re
from typing import Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

#: Strings, comments, brackets, names, and any other single character, so that nothing is skipped.
_TOKEN: Final = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<space>\s+)"""
    r"""|(?P<open>[{<\[])|(?P<close>[}>\]])|(?P<word>[\w.+-]+)|(?P<other>.)""",
    re.DOTALL,
)


class BadConfig(Exception):
    """The text is no model configuration; the message says where and why."""


def without_name(content: bytes) -> bytes:
    """`content` without its top-level field `name`. Raises BadConfig."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise BadConfig(f"byte {error.start}: not valid UTF-8") from None
    try:
        text_format.Parse(text, model_config_pb2.ModelConfig(), allow_unknown_field=True)
    except (text_format.ParseError, RecursionError) as error:
        raise BadConfig(f"line {str(error) or 'unknown: nested too deep'}") from None
    return _drop(text, "name").encode()


def _drop(text: str, field: str) -> str:
    """`text` without the top-level scalar `field`, however often it comes; `text` parses."""
    kept: list[str] = []
    depth = 0
    dropping = False  # the field's own name was read, its value was not yet
    dropped = False  # the value was read: an adjacent string or a separator still belongs to it
    for token in _TOKEN.finditer(text):
        kind, value = token.lastgroup, token.group()
        if dropping:
            dropping = kind != "string"
            dropped = not dropping
            continue
        if dropped and (kind == "string" or (kind == "other" and value in ",;")):
            continue
        if dropped and kind not in {"space", "comment"}:
            dropped = False
        if kind == "word" and depth == 0 and value == field and _begins_field(kept):
            dropping = True
            continue
        depth += {"open": 1, "close": -1}.get(kind or "", 0)
        kept.append(value)
    return "".join(kept)


def _begins_field(kept: list[str]) -> bool:
    """Whether the next word is a field's name rather than a value."""
    for value in reversed(kept):
        if value.isspace() or value.startswith("#"):
            continue
        return value != ":"
    return True
