"""``git hangar export``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ..api.arrayset import ArraysetDataReader
from ..errors import AlreadyExistsError, InvalidInputError, NotFoundError
from ..keys import SampleKey
from .formats import EXPORT_FORMATS, PLUGINS, Sample, format_of, save, targets
from .names import sample_name
from .opening import open_repository, reading
from .output import counted


@click.command(short_help="Export samples to files.")
@click.argument("arrayset")
@click.argument("startpoint", required=False)
@click.option(
    "-o", "--out", default=".", type=click.Path(path_type=Path, file_okay=False),
    help="Directory to export to; made if missing.  [default: the current one]",
)  # fmt: skip
@click.option(
    "-s", "--sample", "names", multiple=True,
    help="Sample to export, as NAME, str:NAME or int:NUMBER; may be repeated.",
)  # fmt: skip
@click.option(
    "-f", "--format", "format_", type=click.Choice(EXPORT_FORMATS), help="Format of the files."
)
@click.option("--plugin", type=click.Choice(PLUGINS), help="What writes the files.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def export(
    arrayset: str, startpoint: str | None, out: Path, names: tuple[str, ...], format_: str | None,
    plugin: str | None, overwrite: bool,
) -> None:  # fmt: skip
    """Export samples of ARRAYSET, as they were at STARTPOINT, to files.

    By default all samples, of the last commit to the writer branch. Names of samples are str or
    int: '10' and 'str:10' mean the str, 'int:10' means the int.

    \b
    npy (default)              a file for each sample; what is called by the int 10
                               is in int=10.npy
    npz                        ARRAYSET.npz, with all samples
    png jpg jpeg tif tiff bmp  a file for each sample, which must be an uint8 image
                               (in jpg files values are changed by compression)
    """  # noqa: D301  # \b is click's mark of a paragraph to leave as it is
    extension = _extension(format_, plugin)
    repository, _ = open_repository()
    with reading(repository, startpoint) as checkout:
        aset = checkout.arraysets.get(arrayset)
        keys = [_key(aset, name) for name in names] if names else list(aset.keys())
        files = targets(out, arrayset, keys, extension)
        if not overwrite and (taken := next((file for file in files if file.exists()), None)):
            raise AlreadyExistsError(
                f"{taken} exists; export to another directory with --out, or use --overwrite"
            )
        out.mkdir(parents=True, exist_ok=True)
        samples = (Sample(key, aset.get(key)) for key in _progress(keys))
        save(out, arrayset, samples, extension, overwrite=overwrite)
    where = files[0] if len(files) == 1 else out
    click.echo(f"Exported {counted(len(keys), 'sample')} of arrayset {arrayset!r} to {where}")


def _extension(format_: str | None, plugin: str | None) -> str:
    extension = f".{format_ or ('png' if plugin == 'images' else 'npy')}"
    found = format_of(Path(f"x{extension}"), None)
    if found is None or plugin not in (None, found.plugin):
        raise InvalidInputError(f"plugin {plugin!r} does not write {extension} files")
    return extension


def _key(aset: ArraysetDataReader, text: str) -> SampleKey:
    key = sample_name(text)
    if key not in aset:
        is_int = isinstance(key, str) and key.isdecimal() and int(key) in aset
        hint = f"; there is 'int:{key}'" if is_int else ""
        raise NotFoundError(f"arrayset {aset.name!r} has no sample {key!r}{hint}")
    return key


def _progress(keys: list[SampleKey]) -> Iterator[SampleKey]:
    """`keys`, with a bar on a terminal that appears once they take more than a second."""
    if not sys.stderr.isatty():
        yield from keys
        return
    from tqdm import tqdm

    yield from tqdm(keys, desc="Exporting", unit="sample", delay=1, leave=False)
