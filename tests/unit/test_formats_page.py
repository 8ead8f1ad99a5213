"""The reference page on formats says what the code does: every kind, every mark, the examples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from oobdump import codecs
from oobdump.codecs.kinds import KINDS
from oobdump.codecs.marked import MARKED_KINDS, Marked

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "formats.md").read_text(encoding="utf-8")
NAMES = set(re.findall(r"`([^`]+)`", PAGE))


def test_every_kind_has_its_row():
    """A kind that is added to the table is one that the page must tell of."""
    named = NAMES | {name.replace("4", "6") for name in NAMES if name.startswith("IPv4")}
    assert {kind.name for kind in KINDS} <= named
    assert MARKED_KINDS <= NAMES
    assert set(Marked.__dataclass_fields__) - {"kind"} <= NAMES


@pytest.mark.parametrize("text", re.findall(r"`(\{\"\$oobdump\":\".*?\})`", PAGE))
def test_every_example_is_a_document(text):
    """What stands there as JSON is decoded, and written the same way again."""
    data = text.encode()
    assert codecs.get("json").encode(codecs.get("json").decode(data)) == data
    assert json.loads(text)["$oobdump"] in NAMES


def test_every_format_has_its_row():
    """Suffix and media type of each codec."""
    for name in codecs.names():
        codec = codecs.get(name)
        assert f"| `.{codec.suffix}` | `{codec.media_type}` |" in PAGE
