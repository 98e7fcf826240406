"""The committed ``.hangar/config``: format version, extensions, data address.

Git-config syntax, but parsed strictly here and not by Git: the file comes from other people, and
Git's own readers follow ``[include]`` to any file. Normative text: docs/format.md, "Config".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import FormatError

FORMAT_VERSION = 1
KNOWN_EXTENSIONS: frozenset[str] = frozenset()

_SECTION = re.compile(r"\[([a-z]+)\]")
_VALUE = re.compile(r"\t([A-Za-z][A-Za-z0-9-]*) = ([!-~](?:[ -~]*[!-~])?)")
_VERSION = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Config:
    """What ``.hangar/config`` says.

    Parameters
    ----------
    format_version
        Version of the committed format.
    extensions
        Name -> ``"write"`` or ``"read"``: what a program that does not know it must not do.
    data_url
        Address of the data remote, or None.
    """

    format_version: int = FORMAT_VERSION
    extensions: Mapping[str, str] = field(default_factory=dict)
    data_url: str | None = None

    def to_text(self) -> str:
        """The one text of this configuration."""
        lines = ["[hangar]", f"\tformatVersion = {self.format_version}"]
        if self.data_url is not None:
            lines.append(f"\tdataUrl = {self.data_url}")
        if self.extensions:
            lines.append("[extensions]")
            lines += [f"\t{name} = {need}" for name, need in sorted(self.extensions.items())]
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str, where: str = ".hangar/config") -> Config:
        """Parse a committed configuration.

        Raises
        ------
        FormatError
            A line, section or key that is not one of ours. Comments and blank lines may stand.
        """
        section = ""
        values: dict[tuple[str, str], str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith(("#", ";")):
                continue
            if match := _SECTION.fullmatch(line):
                section = match[1]
                continue
            match = _VALUE.fullmatch(line)
            if match is None or not section or (section, match[1]) in values:
                raise FormatError(f"{where}: line {number}: malformed: {line[:80]!r}")
            values[section, match[1]] = match[2]
        return cls._of(values, where)

    @classmethod
    def _of(cls, values: dict[tuple[str, str], str], where: str) -> Config:
        version = values.pop(("hangar", "formatVersion"), None)
        if version is None or not _VERSION.fullmatch(version):
            raise FormatError(f"{where}: no hangar.formatVersion")
        url = values.pop(("hangar", "dataUrl"), None)
        extensions = {key: value for (part, key), value in values.items() if part == "extensions"}
        if len(extensions) != len(values):
            part, key = next(name for name in values if name[0] != "extensions")
            raise FormatError(f"{where}: unknown setting {part}.{key}")
        for name, need in extensions.items():
            if need not in ("read", "write"):
                raise FormatError(f"{where}: extensions.{name} must be 'read' or 'write'")
        return cls(int(version), extensions, url)

    def check_readable(self, where: str = ".hangar/config") -> None:
        """Raise FormatError unless this program can read the repository."""
        if self.format_version > FORMAT_VERSION:
            raise FormatError(
                f"{where}: format version {self.format_version} is newer than this program's"
                f" ({FORMAT_VERSION}); update hangar_git"
            )
        self._refuse_unknown(where, "read", ("read",))

    def check_writable(self, where: str = ".hangar/config") -> None:
        """Raise FormatError unless this program can write to the repository."""
        self.check_readable(where)
        self._refuse_unknown(where, "write", ("read", "write"))

    def _refuse_unknown(self, where: str, action: str, needs: tuple[str, ...]) -> None:
        for name, need in self.extensions.items():
            if need in needs and name not in KNOWN_EXTENSIONS:
                raise FormatError(
                    f"{where}: extension {name!r} is unknown to this program, which must not"
                    f" {action} the repository; update hangar_git"
                )
