"""Where things lie below ``<git common dir>/hangar``, which all worktrees share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..durable import make_directory, replace_file
from ..errors import FormatError, cannot_write
from ..records.gitrepo import GitRepository

LOCAL_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of everything that stays local."""

    root: Path

    @classmethod
    def of(cls, git: GitRepository) -> Layout:
        """The layout of a repository."""
        return cls(git.common_dir / "hangar")

    @property
    def lock(self) -> Path:
        """The writer lock."""
        return self.root / "lock"

    @property
    def journal(self) -> Path:
        """The staging journal."""
        return self.root / "staging" / "journal"

    @property
    def writer_branch(self) -> Path:
        """The choice of writer branch."""
        return self.root / "staging" / "branch"

    @property
    def pending_move(self) -> Path:
        """The move of a branch that is not finished."""
        return self.root / "staging" / "branch-move"

    @property
    def merge_state(self) -> Path:
        """A merge that stopped at conflicts."""
        return self.root / "staging" / "merge"

    @property
    def counts(self) -> Path:
        """Remembered numbers of records."""
        return self.root / "counts"

    @property
    def exists(self) -> bool:
        """Whether this clone has a local part at all."""
        return (self.root / "format").is_file()

    def create(self) -> None:
        """Make the local part, unless it is there."""
        if self.exists:
            return
        try:
            make_directory(self.root / "staging")
            replace_file(self.root / "format", b"%d\n" % LOCAL_FORMAT)
        except OSError as error:
            raise cannot_write(self.root, error) from error

    def check_format(self) -> None:
        """Raise FormatError if the local part is newer than this program."""
        try:
            text = (self.root / "format").read_text().strip()
        except FileNotFoundError:
            return
        if text != str(LOCAL_FORMAT):
            raise FormatError(
                f"{self.root / 'format'}: local format {text[:20]!r} is not this program's"
                f" ({LOCAL_FORMAT}); update hangar_git"
            )
