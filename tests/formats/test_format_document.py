"""What docs/format.md prints is what the package does."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from hangar_git.config import Config
from hangar_git.digest import array_digest, digest_prefix
from hangar_git.dtypes import canonical_json, dtype_from_json
from hangar_git.keys import key_hash
from hangar_git.records.edits import GIT_ATTRIBUTES
from hangar_git.schema import Schema, new_schema
from hangar_git.staging.layout import Layout

from . import independent_reader as reader

TEXT = (Path(__file__).parents[2] / "docs" / "format.md").read_text()


def table(heading: str) -> list[list[str]]:
    """Rows of the table whose first column is called `heading`, without backquotes."""
    rows = TEXT.split(f"\n| {heading} |", 1)[1].split("\n\n")[0].splitlines()[2:]
    return [
        [cell.strip().strip("`").replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in rows
    ]


@pytest.mark.parametrize("row", table("sample"), ids=lambda row: row[0])
def test_digest_vectors(row):
    _, dtype, shape, payload, digest = row
    dtype, shape, payload = json.loads(dtype), json.loads(shape), bytes.fromhex(payload)
    array = np.frombuffer(payload, dtype_from_json(dtype)).reshape(shape)
    assert array_digest(array).hex() == digest
    assert reader.digest_of(dtype, shape, payload) == digest


@pytest.mark.parametrize("row", table("value"), ids=lambda row: row[0])
def test_digest_vectors_of_text_and_byte_strings(row):
    _, kind, payload, digest = row
    payload = bytes.fromhex(payload)
    schema = new_schema(None, None, None, named_samples=True, variable_shape=False, kind=kind)
    array = schema.accept(payload.decode() if kind == "str" else payload, "a", "b")
    prefix = digest_prefix(kind, array.dtype, array.shape)
    assert blake3(prefix + array.tobytes()).hexdigest() == digest
    assert reader.digest_of("|u1", [len(payload)], payload, kind) == digest


@pytest.mark.parametrize("row", table("key as written"), ids=lambda row: row[0])
def test_key_hashes(row):
    assert key_hash(row[0]).hex() == reader.key_hash(row[0]) == row[1]


@pytest.mark.parametrize("row", table("hashed"), ids=lambda row: row[1])
def test_tags(row):
    hashed, tag = row
    name, kind, dtype, rank, rule, _, *nested = json.loads(hashed)
    variable = rule == "variable"
    shape = tuple([9] * rank if variable else rule)
    schema = Schema(dtype_from_json(dtype), shape, variable, kind=kind, nested=bool(nested))
    assert canonical_json(json.loads(hashed)) == hashed
    assert schema.tag(name) == reader.tag_of(name, json.loads(schema.to_json())) == tag


def test_every_table_is_found():
    headings = ("sample", "value", "key as written", "hashed")
    assert [len(table(heading)) for heading in headings] == [8, 3, 6, 6]


def test_config_and_attributes_are_as_printed():
    assert f"```text\n{Config().to_text()}```" in TEXT
    assert f"```text\n{GIT_ATTRIBUTES}```" in TEXT


def test_every_local_path_is_listed():
    root = Path("hangar")
    paths = [p for p in vars(Layout) if isinstance(getattr(Layout, p), property) and p != "exists"]
    listed = {row[0] for row in table("path")}
    assert {str(getattr(Layout(root), path).relative_to(root)) for path in paths} <= listed


def test_the_example_is_what_is_committed(repo, writer, git):
    pairs = writer.arraysets.init_arrayset("pairs", shape=(2,), dtype=np.uint8)
    pairs["a7"] = np.array([1, 255], np.uint8)
    pairs[10] = np.array([0, 7], np.uint8)
    writer.metadata["source"] = "camera 3"
    commit = writer.commit("example")
    assert f"`{git('rev-parse', f'{commit}:.hangar')}`" in TEXT
    files = reader.files_of(repo.path, commit)
    example = TEXT.split("## Example", 1)[1].split("## What readers", 1)[0]
    printed = re.findall(
        r"^`\.hangar/([^`]+)`[^:]*:\n\n```text\n(.*?)```", example, re.DOTALL | re.MULTILINE
    )
    assert len(printed) == 4
    for path, content in printed:
        lines = files[path].decode().splitlines()
        places = [lines.index(line) for line in content.splitlines() if line != "..."]
        assert places == sorted(places)
        if "..." not in content:
            assert content == files[path].decode()
        else:
            assert len(lines) == 257
            # Around an omission stand anchors; elsewhere lines are neighbours.
            whole = content.splitlines()
            for one, two in pairwise(whole):
                assert "..." in (one, two) or lines.index(two) == lines.index(one) + 1
