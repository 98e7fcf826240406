"""``git hangar import``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from ..api.arraysetwriter import ArraysetDataWriter
from ..errors import AlreadyExistsError, InvalidInputError
from ..keys import SampleKey
from .formats import PLUGINS, format_of, load
from .opening import open_repository, writing
from .output import counted


@click.command("import", short_help="Stage the samples in files.")
@click.argument("arrayset")
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--branch", help="Branch to stage the samples for; by default the writer branch.")
@click.option("--plugin", type=click.Choice(PLUGINS), help="Override what the extension tells.")
@click.option("--overwrite", is_flag=True, help="Replace samples that have the same name.")
def import_(
    arrayset: str, paths: tuple[Path, ...], branch: str | None, plugin: str | None, overwrite: bool
) -> None:
    """Import the file PATH, or all files in the directory PATH, to ARRAYSET in the staging area.

    All samples of all files are staged or, if one of them is not right, none. Subdirectories are
    left out.

    \b
    .npy     one sample, named like the file. An array with one dimension more than
             the arrayset's samples is a stack: its rows along the first axis are
             samples, named by the integers 0, 1, 2, ...
    .npz     each array in it is a sample, named by its key
    .png .jpg .jpeg .tif .tiff .bmp .webp
             one sample, named like the file

    A file or key 'int=10' is the sample named by the integer 10, as export writes it.
    """  # noqa: D301  # \b is click's mark of a paragraph to leave as it is
    repository, _ = open_repository()
    with writing(repository, branch) as checkout:
        aset = checkout.arraysets.get(arrayset)
        files = _files(paths)
        with checkout._session.area.all_or_nothing():
            count = _stage(aset, _progress(files), plugin, overwrite=overwrite)
        click.echo(
            f"Staged {counted(count, 'sample')} in arrayset {arrayset!r}"
            f" on branch {checkout.branch_name!r}"
        )


def _files(paths: Iterable[Path]) -> list[Path]:
    files = []
    for path in paths:
        if not path.is_dir():
            path.stat()  # a path that is not there is an error of the file system's
            files.append(path)
            continue
        # What the system leaves in directories (.DS_Store) is not meant.
        inside = [
            file
            for file in sorted(path.iterdir())
            if file.is_file() and not (file.name.startswith(".") and not format_of(file, None))
        ]
        if not inside:
            raise InvalidInputError(f"{path}: there are no files in this directory")
        files += inside
    return files


def _stage(
    aset: ArraysetDataWriter, files: Iterable[Path], plugin: str | None, *, overwrite: bool
) -> int:
    """Stage the samples in `files`; how many."""
    count = 0
    origins: dict[SampleKey, Path] = {}
    for file in files:
        for key, array in load(file, len(aset.shape), plugin):
            if aset.named_samples:
                if key in origins:
                    raise InvalidInputError(
                        f"{file}: sample {key!r} is in {origins[key]}, too; nothing was staged"
                    )
                if not overwrite and key in aset:
                    raise AlreadyExistsError(
                        f"{file}: arrayset {aset.name!r} has a sample {key!r} already; to replace"
                        f" it, use --overwrite; nothing was staged"
                    )
                origins[key] = file
            try:
                aset.add(array, key)
            except InvalidInputError as error:
                raise InvalidInputError(f"{file}: {error}; nothing was staged") from error
            count += 1
    return count


def _progress(files: list[Path]) -> Iterator[Path]:
    """`files`, with a bar on a terminal that appears once they take more than a second."""
    if not sys.stderr.isatty():
        yield from files
        return
    from tqdm import tqdm

    yield from tqdm(files, desc="Importing", unit="file", delay=1, leave=False)
