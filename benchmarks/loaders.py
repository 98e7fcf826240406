"""Data loaders and views: epochs against tensors in memory, PNG files, WebDataset and plain Zarr.

``python benchmarks/loaders.py [NAME ...]`` runs all, or those named.
"""

from __future__ import annotations

import io
import multiprocessing
import resource
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import webdataset
import workloads
import zarr
from PIL import Image
from report import Report, Row, best, scratch, timed
from torch.utils.data import DataLoader, Dataset, TensorDataset

from hangar_git import Repository, make_torch_dataset, make_torch_loader

NAMES = "digits", "images", "start", "zarr_view"


def committed(path: Path, **arrays: np.ndarray) -> Repository:
    """A repository with an arrayset for each of `arrays`."""
    path.mkdir()
    repo = Repository(path, exists=False)
    repo.init("Bench", "bench@example.org")
    co = repo.checkout(write=True)
    for name, array in arrays.items():
        aset = co.arraysets.init_arrayset(name, array.shape[1:], array.dtype)
        aset.add_batch(range(len(array)), array)
    co.commit("data")
    co.close()
    return repo


def through(loader: object) -> float:
    """Seconds of an epoch, whose batches become floats, as a training step would need them."""

    def run() -> None:
        for batch in loader:
            image = batch["images"] if isinstance(batch, dict) else batch[0]
            image.float().div_(255)

    run()
    return best(run)


def epoch(loader: object) -> float:
    """Seconds of one epoch."""
    start = time.perf_counter()
    for batch in loader:
        image = batch["images"] if isinstance(batch, dict) else batch[0]
        image.float().div_(255)
    return time.perf_counter() - start


def digits(report: Report) -> None:
    data = workloads.load("digits")
    labels = (np.arange(len(data)) % 10)[:, None]
    plain = TensorDataset(torch.from_numpy(data), torch.from_numpy(labels))
    options = {"batch_size": 256, "shuffle": True}
    with scratch() as directory:
        repo = committed(directory / "repo", images=data, labels=labels)

        def made(name: str, co: object) -> object:
            columns = [co["images"], co["labels"]]
            ours = make_torch_dataset(columns)
            if name == "default collate":
                return DataLoader(ours, **options)
            if name == "`dataset.collate`":
                return DataLoader(ours, collate_fn=ours.collate, **options)
            return make_torch_loader(columns, **options)

        for name in ("default collate", "`dataset.collate`", "`make_torch_loader`"):
            floors, firsts, later = [], [], []
            for _ in range(3):  # in turn: the machine may be busy with something else for a while
                floors += [epoch(DataLoader(plain, **options)) for _ in range(2)]
                with repo.checkout() as co:
                    loader = made(name, co)
                    firsts.append(epoch(loader))
                    later += [epoch(loader) for _ in range(2)]
            floor = len(data) / min(floors)
            for which, seconds in (("first", firsts), ("later", later)):
                report.add(
                    Row(f"{which} epoch of 50,000 digits, batch 256, shuffled, {name}",
                        len(data) / min(seconds), "/s", 0.7 * floor, floor, "tensors in memory")
                )  # fmt: skip


class PngFolder(Dataset):
    """Images in a directory, one file each."""

    def __init__(self, directory: Path) -> None:
        self.files = sorted(directory.iterdir())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict:
        with Image.open(self.files[index]) as picture:
            return {"images": torch.from_numpy(np.array(picture))}


class ZarrRows(Dataset):
    """Samples of a Zarr array, one chunk each."""

    def __init__(self, path: Path) -> None:
        self.array = zarr.open(path, mode="r")

    def __len__(self) -> int:
        return self.array.shape[0]

    def __getitem__(self, index: int) -> dict:
        return {"images": torch.from_numpy(self.array[index])}


def png_and_tar(directory: Path, data: np.ndarray) -> None:
    (directory / "png").mkdir()
    with tarfile.open(directory / "images.tar", "w") as archive:
        for number, image in enumerate(data):
            file = directory / "png" / f"{number:06}.png"
            Image.fromarray(image).save(file)
            buffer = io.BytesIO()
            np.save(buffer, image)
            entry = tarfile.TarInfo(f"{number:06}.npy")
            entry.size = buffer.tell()
            buffer.seek(0)
            archive.addfile(entry, buffer)


def images(report: Report) -> None:
    data = workloads.load("images")
    n = len(data)
    with scratch() as directory:
        co = committed(directory / "repo", images=data).checkout()
        png_and_tar(directory, data)
        array = zarr.create_array(
            directory / "a.zarr", shape=data.shape, dtype="u1", chunks=(1, *data.shape[1:])
        )
        array[:] = data
        folder = PngFolder(directory / "png")
        options = {"batch_size": 32, "shuffle": True}
        ours = n / through(make_torch_loader(co["images"], **options))
        floors = {
            "PNG folder": n / through(DataLoader(folder, **options)),
            "plain Zarr": n / through(DataLoader(ZarrRows(directory / "a.zarr"), **options)),
        }
        tar = webdataset.WebDataset(
            str(directory / "images.tar"), shardshuffle=False, handler=webdataset.reraise_exception
        )
        tar = tar.shuffle(1000).decode().to_tuple("npy")
        floors["WebDataset of .npy"] = n / through(webdataset.WebLoader(tar, batch_size=32))
        for name, floor in floors.items():
            factor = 3 if name == "PNG folder" else 1
            report.add(
                Row(f"2,000 images 224x224x3, shuffled, against {name}", ours, "/s",
                    factor * floor, floor, name)
            )  # fmt: skip
        heavy = {"transform": Augment(), **options}
        loaders = [make_torch_loader(co["images"], num_workers=count, **heavy) for count in (0, 2)]
        alone, two = (through(loader) for loader in loaders)
        report.add(
            Row("augmented images: 2 workers against 0", alone / two, "x", 1.6,
                machine_scaling(), "the same arithmetic, in two processes that share nothing")
        )  # fmt: skip
        del loaders
        co.close()


class Augment:
    """What a training run does to an image, up to what it hands to the device: bytes."""

    def __call__(self, batch: dict) -> dict:
        torch.set_num_threads(1)
        image = batch["images"].flip(2).permute(0, 3, 1, 2).float()
        image = torch.nn.functional.interpolate(image, size=(160, 160), mode="bilinear")
        mean = image.mean((2, 3), keepdim=True)
        image = (image - mean).mul_(1.2).add_(mean).add_(4).clamp_(0, 255)
        return {"images": image.to(torch.uint8)}


def machine_scaling() -> float:
    """How much more two processes do in a second than one, at the moment."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(arithmetic, [1, 1], chunksize=1)
        one = best(lambda: pool.apply(arithmetic, [30]))
        return 2 * one / best(lambda: pool.map(arithmetic, [30, 30], chunksize=1))


def arithmetic(batches: int) -> None:
    batch = {"images": torch.randint(0, 255, (32, 224, 224, 3), dtype=torch.uint8)}
    for _ in range(batches):
        Augment()(batch)


_START = """
import sys, time
from hangar_git import Repository, make_torch_loader

def memory():
    # The peak of all memory, and what of it are pages of files at the moment, which others share.
    with open("/proc/self/status") as status:
        rows = dict(line.split(":", 1) for line in status)
    return [int(rows[name].split()[0]) / 1024 for name in ("VmHWM", "RssFile")]

import hangar_git.dataloaders.torchloader
co = Repository(sys.argv[1]).checkout()
before, start = memory(), time.perf_counter()
loader = make_torch_loader(co["images"], batch_size=256, shuffle=True)
made = time.perf_counter() - start
begun = []
for epoch in range(3):  # of which none is read to its end: little is in memory already
    loader.set_epoch(epoch)
    start = time.perf_counter()
    next(iter(loader))
    begun.append(time.perf_counter() - start)
after = memory()
files = after[1] - before[1]
print(made, min(begun), after[0] - before[0] - files, files)
"""


def start(report: Report) -> None:
    data = workloads.load("tiny")
    with scratch() as directory:
        committed(directory / "repo", images=data).checkout().close()
        done = subprocess.run(
            [sys.executable, "-c", _START, str(directory / "repo")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        made, begun, own, files = map(float, done.stdout.split()[-4:])
    report.add(Row("1,000,000 samples: making the loader", made, "s", more_is_better=False))
    report.add(Row("1,000,000 samples: first batch of an epoch, best of 3 epochs", begun, "s", 0.5,
                   more_is_better=False))  # fmt: skip
    report.add(Row("1,000,000 samples: extra memory of both at its peak", own, "MB", 200,
                   more_is_better=False))  # fmt: skip
    report.add(Row("1,000,000 samples: mapped pages of index and Git packs", files, "MB"))


def zarr_view(report: Report) -> None:
    data = workloads.load("images")[:500]
    from numcodecs import blosc

    blosc.use_threads = False
    with scratch() as directory:
        repo = committed(directory / "repo", images=data)
        with repo.checkout() as co:
            view = zarr.open(co.to_zarr(), mode="r")["images"]
            plain = zarr.create_array(
                directory / "a.zarr", shape=data.shape, dtype="u1", chunks=view.chunks,
                compressors=view.compressors or None,
            )  # fmt: skip
            plain[:] = data
            plain = zarr.open(directory / "a.zarr", mode="r")
            for name, read in READS.items():
                # In turn, for the machine may be busy with something else for a while.
                pairs = [(timed(lambda: read(view)), timed(lambda: read(plain))) for _ in range(7)]  # noqa: B023
                ours, floor = map(min, zip(*pairs, strict=True))
                report.add(
                    Row(f"`to_zarr`: {name}", ours / floor, "x of plain Zarr", 1.2,
                        more_is_better=False)
                )  # fmt: skip


READS: dict[str, Callable[[zarr.Array], object]] = {
    "500 images at once": lambda array: array[:],
    "100 images one by one": lambda array: [array[i] for i in range(0, 500, 5)],
}


def main() -> None:
    report = Report("Data loaders and views")
    torch.set_num_threads(1)
    for name in sys.argv[1:] or NAMES:
        began = time.perf_counter()
        seconds = timed(lambda: globals()[name](report))  # noqa: B023
        print(f"{name}: {seconds:.0f} s of {time.perf_counter() - began:.0f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    report.print()


if __name__ == "__main__":
    main()
