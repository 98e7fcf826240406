"""``git hangar import``."""

from __future__ import annotations

import warnings
from pathlib import Path

import click

from ..api.checkout import WriterCheckout
from ..errors import InvalidInputError, NotFoundError
from ..plugins.base import Form
from ..plugins.decoding import Loader
from ..plugins.finding import KEYS_FROM, Found, Naming, Search
from ..staging.layout import Layout
from .importlog import ImportLog
from .opening import open_repository, writing
from .output import counted, json_option, no_progress_option, print_json
from .pluginoptions import PluginCommand, form_of, manager, plugin_options
from .stagingfiles import FileStager, Labels, make_arrayset


@click.command("import", cls=PluginCommand, short_help="Stage the samples in files.")
@click.argument("arrayset")
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--branch", help="Branch to stage the samples for; by default the writer branch.")
@click.option("--plugin", help="Override what the extension tells.")
@click.option("--overwrite", is_flag=True, help="Replace samples that have the same name.")
@click.option("-r", "--recursive", is_flag=True, help="Look in subdirectories, too.")
@click.option(
    "--pattern", "patterns", multiple=True, metavar="GLOB",
    help="Only files of directories that fit, such as '*.png'; may be repeated.",
)  # fmt: skip
@click.option(
    "--keys-from", type=click.Choice(KEYS_FROM),
    help="Name samples by the file's name without extension (stem) or with it (name), or by its"
    " path below PATH, with dots for slashes.  [default: stem; with --labels path]",
)  # fmt: skip
@click.option(
    "--replace", metavar="TEXT",
    help="Take TEXT for each character that a sample's name cannot have, such as spaces.",
)  # fmt: skip
@click.option(
    "--labels", metavar="ARRAYSET",
    help="Stage the name of each file's folder below PATH, its class, in this arrayset.",
)  # fmt: skip
@click.option("--create", is_flag=True, help="Make arraysets that are missing, as the first file.")
@click.option(
    "--keep-going", is_flag=True,
    help="Leave out files that are not right; the exit code tells that there were any.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the same import, interrupted before.")
@no_progress_option
@json_option
def import_(
    arrayset: str, paths: tuple[Path, ...], branch: str | None, plugin: str | None,
    overwrite: bool, recursive: bool, patterns: tuple[str, ...], keys_from: str | None,
    replace: str | None, labels: str | None, create: bool, keep_going: bool, resume: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Import the file PATH, or all files in the directory PATH, to ARRAYSET in the staging area.

    All samples of all files are staged or, if one of them is not right, none. An import that is
    interrupted keeps what it has staged, and --resume goes on with it.

    \b
    png jpg tif webp bmp   one sample, named like the file; --mode=RGB converts
    npy                    one sample; an array with one dimension more than the
                           arrayset's samples is a stack of samples 0, 1, 2, ...
    npz                    each array is a sample, named by its key
    csv tsv parquet arrow  each row is a sample; --key=COLUMN has the names,
                           --columns=A,B the values
    h5 hdf5 zarr           the rows of a dataset, or a sample for each;
                           --dataset=NAME chooses
    tar                    a WebDataset: each member is a sample
    wav flac ogg           --dtype=int16 and the like
    mp4 mkv webm avi mov   the frames, --every=10 of them; or a sample, in an arrayset
                           whose samples have frames as their first axis
    nii nii.gz dcm         volumes and medical images
    txt and others         a text or bytes, for arraysets of that kind

    A file or key 'int=10' is the sample named by the integer 10, as export writes it. For an
    arrayset of nested samples, the file 'outer/inner.png' is 'outer/inner'. Options --NAME=VALUE
    that are not listed here are the plugin's.
    """  # noqa: D301  # \b is click's mark of a paragraph to leave as it is
    repository, git = open_repository()
    plugins, options = manager(), plugin_options()
    with writing(repository, branch) as checkout, warnings.catch_warnings():
        # What Pillow says about an image's metadata, which is not imported, is not of interest.
        warnings.simplefilter("ignore")
        form = _form(checkout, arrayset, create=create)
        nested = form is not None and checkout.arraysets[arrayset].contains_subsamples
        errors: list[str] = []

        def refused(error: Exception) -> None:
            if not keep_going:
                raise error
            errors.append(str(error))
            click.echo(f"skipped: {error}", err=True)

        loader = Loader(plugins, plugin, form, options)
        keys_from = keys_from or ("path" if labels else "stem")
        search = Search(
            recursive or nested or keys_from == "path", patterns, loader.is_known, refused
        )
        files = search.find(paths)
        identity = [arrayset, checkout.branch_name, [str(path.absolute()) for path in paths],
                    patterns, keys_from, labels]  # fmt: skip
        log = ImportLog(Layout.of(git).root / "imports", identity)
        with checkout._session.area.all_or_nothing():
            if form is None:
                form = _create(checkout, arrayset, files, loader)
                loader = Loader(plugins, plugin, form, options)
            stager = FileStager(
                checkout, arrayset, Naming(keys_from, nested, replace), log, refused,
                overwrite=overwrite, keep_going=keep_going,
            )  # fmt: skip
            if labels:
                if not checkout.arraysets[arrayset].named_samples:
                    raise InvalidInputError("labels are for samples that have names")
                stager.labels = Labels(checkout, labels, files, create=create)
            interrupted = stager.stage(files, loader, resume=resume)
        if interrupted:
            raise InterruptedImportError(
                f"interrupted; {counted(stager.count, 'sample')} of {counted(stager.files, 'file')}"
                f" are staged: the same command with --resume goes on"
            )
        log.remove()
        if as_json:
            print_json({"arrayset": arrayset, "branch": checkout.branch_name,
                        "staged": stager.count, "unchanged_files": stager.skipped,
                        "refused": errors})  # fmt: skip
        else:
            click.echo(
                f"Staged {counted(stager.count, 'sample')} in arrayset {arrayset!r}"
                f" on branch {checkout.branch_name!r}"
            )
        if errors:
            click.echo(f"{counted(len(errors), 'file')} left out", err=True)
    return 1 if errors else 0


class InterruptedImportError(click.ClickException):
    """The user interrupted an import; what was staged stays."""

    exit_code = 130


def _form(checkout: WriterCheckout, arrayset: str, *, create: bool) -> Form | None:
    if arrayset not in checkout.arraysets and create:
        return None
    try:
        return form_of(checkout.arraysets.get(arrayset)._schema)
    except NotFoundError as error:
        raise NotFoundError(
            f"{error}; 'git hangar arrayset create' makes one, or --create"
        ) from error


def _create(checkout: WriterCheckout, name: str, files: list[Found], loader: Loader) -> Form:
    """Make the arrayset as the first sample of the first file asks for."""
    first = loader.load(files[0])
    if first.error is not None:
        raise first.error
    data = next(iter(first.found))[0]
    if getattr(getattr(data, "dtype", None), "kind", "") == "U" and data.ndim == 0:
        return form_of(make_arrayset(checkout, name, kind="str"))
    try:
        made = make_arrayset(checkout, name, shape=data.shape, dtype=data.dtype, kind="array")
    except InvalidInputError as error:
        raise InvalidInputError(f"{files[0].path}: {error}") from error
    return form_of(made)
