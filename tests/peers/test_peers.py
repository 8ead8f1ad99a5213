"""Other programs read what oobdump wrote, and read the same: Node, jq, msgpack for Node, plain Python."""

from __future__ import annotations

import json
import math
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oobdump import codecs
from oobdump.codecs.kinds import KINDS, open_value
from strategies_values import values

TOOLS = Path(__file__).resolve().parents[2] / "tools"
READER = TOOLS / "read_tags.js"

batches = st.lists(values, min_size=20, max_size=60)
few = settings(
    max_examples=6,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""A process for each batch of values: the batches are large and few, and not shrunk: the assertion names the value."""

EXAMPLES = [kind.example for kind in KINDS]


def output(*words: object, data: bytes = b"", within_s: float = 60) -> str:
    """What a program prints; a failure shows its stderr."""
    done = subprocess.run([*map(str, words)], check=False, input=data, capture_output=True, timeout=within_s)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


def lines(text: str) -> list[str]:
    """Lines as programs end them: ``splitlines`` knows six more characters that a value may hold."""
    return text.split("\n")[:-1]


# -- JSON ------------------------------------------------------------------------------------------------------------


def read_by_node(node: str, place: Path, batch: list[Any]) -> list[str]:
    """Each value's text, from its JSON document, by the reader in plain JavaScript."""
    paths = []
    for number, value in enumerate(batch):
        paths.append(place / f"{number}.json")
        paths[-1].write_bytes(codecs.get("json").encode(value))
    return lines(output(node, READER, *paths))


@few
@given(batch=batches)
def test_node_reads_every_json_document_without_a_package(node, tmp_path, batch):
    """The reader of ``tools/`` finds the same value, bit for bit: no float, integer or lone surrogate is lost."""
    from plain import json_text

    assert read_by_node(node, tmp_path, batch) == list(map(json_text, batch))


def test_node_reads_every_kind_there_is(node, tmp_path):
    """The table's own examples; so a kind that is added is one that the reader must know."""
    from plain import json_text

    assert read_by_node(node, tmp_path, EXAMPLES) == list(map(json_text, EXAMPLES))


BAD_JSON = ['{"a":1,"a":2}', "[NaN]", "[1,]", "1 2", '"\u0001"', "[01]"]
BAD_TAGS = ['{"$oobdump":"int"}', '{"$oobdump":"int","v":"0x1","w":1}']


@pytest.mark.parametrize("text", BAD_JSON + BAD_TAGS)
def test_the_reader_in_node_is_strict(node, tmp_path, text):
    """What RFC 8259 or the tags do not allow is refused there as it is here."""
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([node, READER, path], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "SyntaxError" in done.stderr


def test_the_reader_needs_nothing_but_a_javascript_engine():
    """It loads the file system, to read files, and no other module."""
    text = READER.read_text(encoding="utf-8")
    assert text.count("require(") == 2  # `fs`, and the example in its comment
    assert "import " not in text


def as_numbers(value: Any) -> Any:
    """What a reader has whose only numbers are doubles, as jq."""
    if isinstance(value, dict):
        return {key: as_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_numbers(item) for item in value]
    return float(value) if type(value) in (int, float) else value


@few
@given(batch=batches)
def test_jq_reads_every_json_document(jq, batch):
    """jq finds the same tree; its integers are doubles, so ours are compared as such."""
    documents = list(map(codecs.get("json").encode, batch))
    read = [json.loads(line) for line in lines(output(jq, "-c", ".", data=b"\n".join(documents)))]
    assert as_numbers(read) == as_numbers([json.loads(document) for document in documents])


def test_jq_finds_what_one_asks_for(jq):
    """A tagged value is reached by a path, as the how-to shows."""
    document = codecs.get("json").encode({"when": [1, (2, 3)]})
    assert output(jq, "-c", ".when[1].v", data=document) == "[2,3]\n"


# -- msgpack ---------------------------------------------------------------------------------------------------------


@few
@given(batch=batches)
def test_msgpack_in_node_reads_every_document(node, msgpack_peer, tmp_path, batch):
    """Another implementation finds the same value: keys of any type, bytes, tags, 64-bit integers."""
    from plain import msgpack_text

    documents = list(map(codecs.get("msgpack").encode, batch))
    path = tmp_path / "documents"
    path.write_bytes(b"".join(struct.pack(">I", len(document)) + document for document in documents))
    assert lines(output(node, msgpack_peer, path)) == list(map(msgpack_text, batch))


# -- pickle ----------------------------------------------------------------------------------------------------------

AS_WARNINGS = ("mappingproxy", "ellipsis", "NotImplementedType")
"""Kinds that no class makes again without help: a warning with kind and body stands for each, as the page says."""

PLAIN_LOAD = """
import pickle, sys
assert not any(name.split(".")[0] in ("oobdump", "msgpack") for name in sys.modules)
values = pickle.load(sys.stdin.buffer)
assert not any(name.split(".")[0] in ("oobdump", "msgpack") for name in sys.modules)
sys.stdout.buffer.write(pickle.dumps([repr(value) for value in values]))
"""


def test_plain_pickle_load_needs_no_package():
    """A Python without site packages loads every kind by ``pickle.load``, and has the same values."""
    data = codecs.get("pickle").encode(EXAMPLES)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", PLAIN_LOAD], check=False, input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    for example, loaded in zip(EXAMPLES, pickle.loads(done.stdout), strict=True):
        kind = open_value(example).kind
        warned = kind in AS_WARNINGS and f"Warning('{kind}'" in loaded
        assert loaded == repr(example) or warned or kind == "memoryview"  # whose repr is its address


def test_the_texts_tell_values_apart():
    """The comparisons above would fail on a value that is nearly the same."""
    from plain import json_text, msgpack_text

    plain = [0, 0.0, -0.0, False, None, "0", b"0", [0], (0,), {0: 0}, {"0": 0}]
    near = [*plain, math.nan, 2**64, "\ud800", "\\ud800", set()]
    assert len({*map(json_text, near)}) == len(near)
    assert len({*map(msgpack_text, near)}) == len(near) - 1  # 0 and 0.0 are one number there
