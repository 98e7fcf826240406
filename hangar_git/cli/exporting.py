"""``git hangar export``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import click
import numpy as np

from ..api.arrayset import ArraysetBase
from ..errors import AlreadyExistsError, InvalidInputError, NotFoundError
from ..keys import SampleKey, sorted_keys
from ..plugins.base import BasePlugin, ContainerPlugin, FilePlugin, Form, Sample, replacing
from ..plugins.names import detail_of, file_stem
from ..plugins.zarrs import ZarrPlugin
from ..threads import cpu_count
from .names import sample_name, shown_name
from .opening import open_repository, reading
from .output import counted, json_option, no_progress_option, print_json, progress
from .pluginoptions import PluginCommand, form_of, manager, plugin_options

_BATCH_BYTES = 16 << 20
_BATCH_SAMPLES = 256
_DEFAULTS = {"array": "npy", "str": "txt", "bytes": "bin"}


@click.command(cls=PluginCommand, short_help="Export samples to files.")
@click.argument("arrayset")
@click.argument("startpoint", required=False)
@click.option(
    "-o", "--out", default=".", type=click.Path(path_type=Path, file_okay=False),
    help="Directory to export to; made if missing.  [default: the current one]",
)  # fmt: skip
@click.option(
    "-s", "--sample", "names", multiple=True,
    help="Sample to export, as NAME, str:NAME or int:NUMBER, or a pair of them with / between;"
    " may be repeated.",
)  # fmt: skip
@click.option("-f", "--format", "format_", metavar="EXTENSION", help="Format of the files.")
@click.option("--plugin", help="What writes the files.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@no_progress_option
@json_option
def export(
    arrayset: str, startpoint: str | None, out: Path, names: tuple[str, ...], format_: str | None,
    plugin: str | None, overwrite: bool, as_json: bool,
) -> None:  # fmt: skip
    """Export samples of ARRAYSET, as they were at STARTPOINT, to files.

    By default all samples, of the last commit to the writer branch. Names of samples are str or
    int: '10' and 'str:10' mean the str, 'int:10' means the int.

    \b
    npy (default), png jpg tif   a file for each sample; what is called by the int 10
    webp bmp wav flac nii dcm    is in int=10.npy, a nested sample in outer/inner.npy
    txt bin                      (the default for texts and bytes)
    npz h5 zarr parquet arrow    ARRAYSET.npz and the like, with all samples
    csv tsv tar mkv avi          (tar is a WebDataset; --encode=png has images in it; in Zarr,
                                 smaller samples of varying shape are filled up with zeros)

    Options --NAME=VALUE that are not listed here are the plugin's: --quality=95 for jpg,
    --rate=16000 for wav.
    """  # noqa: D301  # \b is click's mark of a paragraph to leave as it is
    repository, _ = open_repository()
    with reading(repository, startpoint) as checkout:
        aset = checkout.arraysets.get(arrayset)
        form = form_of(aset._schema)
        name, found, extension = _writer(format_, plugin, form)
        keys = _keys(aset, names)
        taken = _targets(found, out, arrayset, keys, extension)
        if not overwrite and (there := next((file for file in taken if file.exists()), None)):
            raise AlreadyExistsError(
                f"{there} exists; export to another directory with --out, or use --overwrite"
            )
        out.mkdir(parents=True, exist_ok=True)
        shown = progress(_samples(aset, keys), len(keys), "Exporting", "sample")
        try:
            if isinstance(found, ZarrPlugin):
                _to_view(aset, checkout.commit_hash, keys, taken[0])
            elif isinstance(found, ContainerPlugin):
                _to_one(found, shown, taken[0], form, len(keys))
            else:
                _to_many(found, shown, out, extension)
        except TypeError as error:  # an option that the plugin does not take
            if not plugin_options():
                raise
            raise InvalidInputError(f"plugin {name!r}: {error}") from error
    where = taken[0] if len(taken) == 1 else out
    if as_json:
        print_json({"arrayset": arrayset, "exported": len(keys), "path": str(where)})
    else:
        click.echo(f"Exported {counted(len(keys), 'sample')} of arrayset {arrayset!r} to {where}")


def _writer(format_: str | None, plugin: str | None, form: Form) -> tuple[str, BasePlugin, str]:
    """What writes the files: its name, the plugin, and the extension with its dot."""
    plugins = manager()
    if format_ is None and plugin is not None:
        accepted = plugins.find("save", plugin)[1].accepts
        format_ = accepted[0] if accepted else ""
    format_ = (format_ or _DEFAULTS[form.kind]).lstrip(".").lower()
    name, found = plugins.find("save", plugin, format_)
    if format_ not in [one.lstrip(".").lower() for one in found.accepts]:
        raise InvalidInputError(f"plugin {name!r} does not write .{format_} files")
    return name, found, f".{format_}"


def _keys(aset: ArraysetBase, names: tuple[str, ...]) -> list[SampleKey]:
    known = aset._all()
    if not names:
        return sorted_keys(list(known))
    keys: list[SampleKey] = []
    for text in names:
        key = sample_name(text)
        if key in known:
            keys.append(key)
            continue
        inside: list[SampleKey] = [one for one in known if isinstance(one, tuple) and one[0] == key]
        if not inside:
            is_int = isinstance(key, str) and key.isdecimal() and int(key) in known
            hint = f"; there is 'int:{key}'" if is_int else ""
            raise NotFoundError(f"arrayset {aset.name!r} has no sample {key!r}{hint}")
        keys += sorted_keys(inside)
    return keys


def _targets(
    plugin: BasePlugin, out: Path, name: str, keys: list[SampleKey], extension: str
) -> list[Path]:
    """The files that will be written, as far as that is known: plugins of others name theirs."""
    if isinstance(plugin, ContainerPlugin):
        return [out / f"{name}{extension}"]
    if isinstance(plugin, FilePlugin):
        return [out / f"{file_stem(key)}{extension}" for key in keys]
    return []


def _samples(aset: ArraysetBase, keys: list[SampleKey]) -> Iterator[Sample]:
    """The samples, read in batches by all processors."""
    records = aset._all()
    step = 1
    at = 0
    while at < len(keys):
        part = keys[at : at + step]
        data = aset._samples([records[key] for key in part], cpu_count())
        yield from map(Sample, part, data)
        at += step
        size_bytes = max(1, *(len(d) if isinstance(d, str | bytes) else d.nbytes for d in data))
        step = max(1, min(_BATCH_SAMPLES, _BATCH_BYTES // size_bytes))


def _to_view(aset: ArraysetBase, commit: str, keys: list[SampleKey], path: Path) -> None:
    """The same that ``checkout.to_zarr()`` shows, of some samples, as a directory."""
    from ..views.columns import Column
    from ..views.zarrstore import CommitStore

    if aset.kind == "bytes":
        raise InvalidInputError("samples of kind bytes cannot be in a Zarr array")
    if options := plugin_options():
        raise InvalidInputError(f"zarr takes no option {next(iter(options))!r}")
    column = Column.of(aset)
    if len(keys) < len(column):
        wanted = set(keys)
        all_keys = column.keys.tolist() if isinstance(column.keys, np.ndarray) else column.keys
        column = column.take(np.flatnonzero([key in wanted for key in all_keys]))
    with replacing(path) as part:
        written = CommitStore.of_columns(commit, [column]).write_to(part)
        # In samples, though they come by chunks.
        for _ in progress((row for rows in written for row in range(rows)), len(keys),
                          "Exporting", "sample"):  # fmt: skip
            pass


def _to_one(
    plugin: ContainerPlugin, samples: Iterator[Sample], path: Path, form: Form, count: int
) -> None:
    options = plugin_options()
    if plugin.takes_count:
        options["count"] = count
    with replacing(path) as part:
        plugin.save_many(samples, part, form, **options)


def _to_many(plugin: BasePlugin, samples: Iterator[Sample], out: Path, extension: str) -> None:
    options = plugin_options()
    made: set[Path] = set()

    def save(sample: Sample) -> None:
        try:
            plugin.save(sample.data, str(out), detail_of(sample.key), extension, **options)
        except InvalidInputError as error:
            raise InvalidInputError(f"sample {shown_name(sample.key)!r}: {error}") from error

    def written(sample: Sample) -> Sample:
        if isinstance(sample.key, tuple) and (folder := out / file_stem(sample.key[0])) not in made:
            folder.mkdir(exist_ok=True)
            made.add(folder)
        return sample

    if not isinstance(plugin, FilePlugin):  # others may put all of them into one file
        for sample in samples:
            save(written(sample))
        return
    with ThreadPoolExecutor(cpu_count(), "hangar-export") as pool:
        while part := [written(one) for one in islice(samples, _BATCH_SAMPLES)]:
            list(pool.map(save, part))
