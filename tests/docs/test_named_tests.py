"""docs/security.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs/security.md").read_text()


def test_every_test_that_the_document_names_is_there():
    file, checked = "", 0
    for name in re.findall(r"`((?:[\w/]+\.py)?(?:::\w+)?)`", TEXT):
        path, _, test = name.partition("::")
        file = path or file
        source = (TESTS / file).read_text()
        assert not test or f"def {test}(" in source, f"{file}: {test}"
        checked += 1
    assert checked > 40
