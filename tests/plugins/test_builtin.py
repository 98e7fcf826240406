"""The built-in plugins: what is written is read back, and real files are read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from hangar_git.errors import FormatError, InvalidInputError, StateError
from hangar_git.plugins.base import ContainerPlugin, Form, Sample
from hangar_git.plugins.manager import BUILT_IN, PluginManager
from hangar_git.plugins.names import detail_of, key_of_text, stem_and_extension

MANAGER = PluginManager()
RANDOM = np.random.default_rng(7)


def form_of(array, **options):
    return Form("array", array.dtype, array.shape, **options)


def load(path, form=None, **options):
    """Samples in a file, by key."""
    plugin = MANAGER.find("load", None, stem_and_extension(Path(path).name)[1])[1]
    found = plugin.load(path, form=form, **options)
    pairs = [found] if isinstance(found, tuple) else found
    return {name if isinstance(name, int) else key_of_text(name): data for data, name in pairs}


def save(directory, samples, extension, form=None, **options):
    """Write samples as files or a file, which is returned."""
    plugin = MANAGER.find("save", None, extension)[1]
    if isinstance(plugin, ContainerPlugin):
        path = directory / f"all{extension}"
        if plugin.takes_count:
            options["count"] = len(samples)
        plugin.save_many((Sample(*one) for one in samples.items()), path, form, **options)
        return [path]
    return [plugin.save(data, directory, detail_of(key), extension, **options)
            for key, data in samples.items()]  # fmt: skip


ROUND_TRIPS = {
    **{e: RANDOM.integers(0, 256, (6, 5, 3), np.uint8)
       for e in (".png", ".tiff", ".bmp", ".webp", ".dcm")},
    ".npy": RANDOM.random((3, 4)),
    ".npz": RANDOM.random((3, 4)).astype("f4"),
    ".csv": RANDOM.random(5),
    ".tsv": RANDOM.integers(-9, 9, 4),
    ".parquet": RANDOM.random((3, 4)),
    ".arrow": RANDOM.random((2, 2)).astype("c8"),
    ".h5": RANDOM.integers(0, 9, (4, 2), np.int16),
    ".zarr": RANDOM.random((2, 3)),
    ".tar": RANDOM.random((2, 3)),
    ".nii": RANDOM.random((3, 4, 5)).astype("f4"),
    ".nii.gz": RANDOM.integers(0, 99, (3, 4, 5), np.int16),
}  # fmt: skip


@pytest.mark.parametrize("extension", ROUND_TRIPS)
def test_what_is_written_is_read_unchanged(extension, tmp_path):
    array = ROUND_TRIPS[extension]
    written = {10: array, "10": array[::-1].copy(), "a.b": np.ascontiguousarray(array + 1)}
    found = {}
    for path in save(tmp_path, written, extension, form_of(array)):
        found |= load(path, form_of(array))
    assert found.keys() == written.keys()
    for key, one in written.items():
        np.testing.assert_array_equal(found[key], one)
        assert found[key].dtype == one.dtype
        assert found[key].flags.c_contiguous
        assert found[key].flags.writeable


@pytest.mark.parametrize("extension", [".npz", ".parquet", ".arrow", ".h5", ".zarr", ".tar"])
def test_samples_of_varying_shape_and_nested_ones_keep_both(extension, tmp_path):
    written = {("p7", 1): np.ones((2, 3), "i4"), ("p7", "ct"): np.zeros((4, 1), "i4")}
    form = Form("array", np.dtype("i4"), (9, 9), variable_shape=True)
    (path,) = save(tmp_path, written, extension, form)
    found = load(path, form)
    assert {key: array.shape for key, array in found.items()} == {
        ("p7", 1): (2, 3), ("p7", "ct"): (4, 1),
    }  # fmt: skip


@pytest.mark.parametrize("extension", [".csv", ".parquet", ".arrow", ".tar", ".npz"])
def test_texts_are_kept_whatever_is_in_them(extension, tmp_path):
    written = {"a": 'one, "two"\nthree\täö\u2028', "b": "", 3: "x" * 5000}
    form = Form("str", np.dtype("u1"), (1,), variable_shape=True)
    (path,) = save(tmp_path, written, extension, form)
    assert load(path, form) == written


@pytest.mark.parametrize("extension", [".parquet", ".tar", ".npz"])
def test_bytes_are_kept(extension, tmp_path):
    written = {"a": b"\0\xff\n", "b": b"x" * 100}
    form = Form("bytes", np.dtype("u1"), (1,), variable_shape=True)
    (path,) = save(tmp_path, written, extension, form)
    assert load(path, form) == written


@pytest.mark.parametrize("extension", [".npz", ".csv", ".parquet", ".h5", ".zarr", ".tar"])
def test_single_samples_are_added_to_a_file_of_many(extension, tmp_path):
    from hangar_git.external import save as save_one

    form = Form("array", np.dtype("f8"), (3,))
    for number in range(3):
        save_one(np.full(3, number, "f8"), tmp_path, f"int:{number}", extension)
    assert len(list(tmp_path.iterdir())) == 1
    found = load(tmp_path / f"samples{extension}", form)
    assert {key: array.tolist() for key, array in found.items()} == {
        number: [number] * 3 for number in range(3)
    }


@pytest.mark.parametrize("dtype", ["u1", "u2", "?", "f4"])
def test_gray_images_have_two_dimensions_or_one_channel(dtype, tmp_path):
    extension = ".tiff" if dtype == "f4" else ".png"
    gray = np.arange(30).reshape(5, 6).astype(dtype)
    if dtype == "u2":
        gray *= 2000
    a, b = save(tmp_path, {"a": gray, "b": gray[..., None]}, extension)
    np.testing.assert_array_equal(load(a, form_of(gray))["a"], gray)
    np.testing.assert_array_equal(load(b, form_of(gray[..., None]))["b"], gray[..., None])


def test_a_palette_image_is_indices_in_two_dimensions_and_colors_in_three(tmp_path):
    from PIL import Image

    mask = Image.frombytes("P", (2, 2), bytes([0, 1, 1, 2]))
    mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    mask.save(tmp_path / "m.png")
    assert load(tmp_path / "m.png", Form("array", np.dtype("u1"), (2, 2)))["m"].tolist() == [
        [0, 1], [1, 2],
    ]  # fmt: skip
    colors = load(tmp_path / "m.png", Form("array", np.dtype("u1"), (2, 2, 3)))["m"]
    assert colors[1, 1].tolist() == [0, 255, 0]
    assert load(tmp_path / "m.png", mode="L")["m"].shape == (2, 2)


def test_colors_of_16_bits_are_not_cut_to_8_silently(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    row = b"\0" + np.arange(6, dtype=">u2").tobytes()
    (tmp_path / "x.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="16 bits"):
        load(tmp_path / "x.png")


def test_an_image_file_of_several_pages_is_refused(tmp_path):
    from PIL import Image

    pages = [Image.fromarray(np.full((3, 3), number, np.uint8)) for number in range(2)]
    pages[0].save(tmp_path / "x.tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(InvalidInputError, match="2 images"):
        load(tmp_path / "x.tiff")


@pytest.mark.parametrize(
    ("array", "extension"),
    [
        (np.zeros((3, 3)), ".png"),
        (np.zeros(3, np.uint8), ".png"),
        (np.zeros((3, 3, 2), np.uint8), ".png"),
        (np.zeros((3, 3, 4), np.uint8), ".jpg"),
        (np.zeros((3, 3), np.uint16), ".jpg"),
        (np.zeros((3, 3), "c8"), ".dcm"),
        (np.zeros((3, 3)), ".txt"),
        (np.zeros((3, 3), "i2"), ".wav"),
    ],
    ids=str,
)
def test_what_a_format_cannot_hold_is_refused_and_leaves_no_file(array, extension, tmp_path):
    with pytest.raises(InvalidInputError):
        save(tmp_path, {"a": array}, extension)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("extension", "dtype"),
    [(".wav", "i2"), (".wav", "i4"), (".wav", "f4"), (".wav", "f8"), (".flac", "i2")],
)
def test_sound_keeps_every_value_and_needs_a_rate(extension, dtype, tmp_path):
    scale = 1 if dtype[0] == "f" else 30000
    sound = (np.sin(np.arange(2000) / 9)[:, None] * [1, 0.5] * scale).astype(dtype)
    with pytest.raises(InvalidInputError, match="--rate"):
        save(tmp_path, {"a": sound}, extension)
    (path,) = save(tmp_path, {"a": sound}, extension, rate=16000)
    np.testing.assert_array_equal(load(path, form_of(sound))["a"], sound)


# -- video -----------------------------------------------------------------------------------------

FRAMES = RANDOM.integers(0, 256, (6, 33, 47, 3), np.uint8)


@pytest.mark.parametrize("extension", [".mkv", ".avi"])
@pytest.mark.parametrize(
    "frames", [FRAMES, FRAMES[..., 0], FRAMES[..., :1]], ids=["color", "gray", "one-channel"]
)
def test_frames_are_written_without_loss(extension, frames, tmp_path):
    (path,) = save(tmp_path, dict(enumerate(frames)), extension, form_of(frames[0]))
    found = load(path, form_of(frames[0]))
    assert list(found) == list(range(6))
    np.testing.assert_array_equal(list(found.values()), frames)
    assert list(load(path, form_of(frames[0]), every=4)) == [0, 1]


def test_a_video_is_one_sample_where_samples_have_frames(tmp_path):
    (path,) = save(tmp_path, dict(enumerate(FRAMES)), ".mkv", form_of(FRAMES[0]))
    np.testing.assert_array_equal(load(path, form_of(FRAMES))["all"], FRAMES)
    gray = load(path, form_of(FRAMES[..., 0]))["all"]
    assert gray.shape == FRAMES.shape[:3]


def test_videos_of_others_are_read_frame_by_frame(tmp_path):
    import av

    with av.open(str(tmp_path / "x.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in (20, 120, 220):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), "rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    found = load(tmp_path / "x.mp4", Form("array", np.dtype("u1"), (48, 64, 3)))
    assert [round(float(frame.mean()), -1) for frame in found.values()] == [20, 120, 220]


def test_what_is_no_video_is_refused(tmp_path):
    form = form_of(FRAMES[0])
    (tmp_path / "x.mkv").write_bytes(b"rubbish" * 100)
    with pytest.raises(FormatError, match=r"x\.mkv"):
        load(tmp_path / "x.mkv", form)
    for frames, extension in ((FRAMES, ".mp4"), (FRAMES / 2, ".mkv"), (FRAMES[:, 0, 0], ".mkv")):
        with pytest.raises(InvalidInputError):
            save(tmp_path, dict(enumerate(frames)), extension, form)
    with pytest.raises(InvalidInputError, match="one shape"):
        save(tmp_path, {0: FRAMES[0], 1: FRAMES[1, 1:]}, ".avi", form)


# -- files that other packages ship ----------------------------------------------------------------


def test_photographs_of_scikit_learn_are_read_as_pillow_reads_them():
    import sklearn.datasets
    from PIL import Image

    path = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"
    np.testing.assert_array_equal(load(path)["china"], np.asarray(Image.open(path)))


@pytest.mark.parametrize(
    "name",
    ["astronaut.png", "brick.png", "clock_motion.png", "hubble_deep_field.jpg", "rocket.jpg"],
)
def test_images_of_scikit_image_are_read_as_it_reads_them(name, tmp_path):
    import skimage.io

    path = Path(skimage.__file__).parent / "data" / name
    found = load(path)[path.stem]
    np.testing.assert_array_equal(found, skimage.io.imread(path))
    (again,) = save(tmp_path, {"x": found}, ".png")
    np.testing.assert_array_equal(load(again)["x"], found)


@pytest.mark.parametrize(
    "options",
    [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2, "progressive": True},
     {"quality": 30, "optimize": True}],
    ids=str,
)  # fmt: skip
def test_jpeg_files_have_the_values_that_pillow_reads(options, tmp_path):
    from PIL import Image
    from sklearn.datasets import load_sample_image

    photograph = Image.fromarray(load_sample_image("flower.jpg"))
    for mode in ("RGB", "L", "CMYK"):
        path = tmp_path / f"{mode}.jpg"
        photograph.convert(mode).save(path, **options)
        np.testing.assert_array_equal(load(path)[mode], np.asarray(Image.open(path)))
    column = Form("array", np.dtype("u1"), (427, 640, 1))
    assert load(tmp_path / "L.jpg", column)["L"].shape == column.shape


def test_of_a_camera_s_file_the_photograph_is_read_and_not_the_preview(tmp_path):
    from PIL import Image

    photograph, preview = (Image.new("RGB", (size, size), "red") for size in (40, 20))
    photograph.save(tmp_path / "x.mpo", save_all=True, append_images=[preview])
    (tmp_path / "x.mpo").rename(tmp_path / "x.jpg")
    assert load(tmp_path / "x.jpg")["x"].shape == (40, 40, 3)
    assert load(tmp_path / "x.jpg", mode="RGB")["x"].shape == (40, 40, 3)


def test_volumes_of_nibabel_are_read(tmp_path):
    import nibabel

    path = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"
    found = load(path)["anatomical"]
    np.testing.assert_array_equal(found, np.asanyarray(nibabel.load(path).dataobj))
    (again,) = save(tmp_path, {"x": found}, ".nii.gz")
    np.testing.assert_array_equal(load(again)["x"], found)


def test_dicom_files_of_pydicom_are_read(tmp_path):
    import pydicom.data

    path = pydicom.data.get_testdata_file("CT_small.dcm")
    found = load(path)["CT_small"]
    assert (found.shape, found.dtype) == ((128, 128), np.int16)
    (again,) = save(tmp_path, {"x": found}, ".dcm")
    np.testing.assert_array_equal(load(again)["x"], found)


def test_sounds_of_scipy_are_read():
    from scipy.io import wavfile

    places = Path(wavfile.__file__).parent / "tests" / "data"
    path = places / "test-44100Hz-le-1ch-4bytes.wav"
    np.testing.assert_array_equal(load(path)[path.stem], wavfile.read(path)[1])


def test_a_table_of_scikit_learn_is_read_by_its_head():
    import sklearn.datasets

    path = Path(sklearn.datasets.__file__).parent / "data" / "linnerud_exercise.csv"
    found = load(path, Form("array", np.dtype("i8"), (2,)), delimiter=" ", columns="Chins,Jumps")
    assert len(found) == 20
    np.testing.assert_array_equal(
        list(found.values()), sklearn.datasets.load_linnerud().data[:, [0, 2]]
    )


# -- tables and hierarchies of others --------------------------------------------------------------


def test_columns_are_chosen_by_their_heads(tmp_path):
    (tmp_path / "x.csv").write_text("id,x,y,note\nq1,1,2,hello\nq2,3,4,you\n")
    two = Form("array", np.dtype("i8"), (2,))
    found = load(tmp_path / "x.csv", two, key="id", columns="x,y")
    assert {key: array.tolist() for key, array in found.items()} == {"q1": [1, 2], "q2": [3, 4]}
    texts = Form("str", np.dtype("u1"), (1,), variable_shape=True)
    assert load(tmp_path / "x.csv", texts, columns="note") == {0: "hello", 1: "you"}
    with pytest.raises(InvalidInputError, match="no column 'z'"):
        load(tmp_path / "x.csv", two, columns="z")
    with pytest.raises(FormatError, match="line 2"):
        load(tmp_path / "x.csv", two, key="id")


def test_columns_of_a_parquet_file_of_others_are_samples(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    table = pa.table({"name": ["a", "b"], "x": [1, 2], "y": [0.5, 4.0], "v": [[1, 2], [3, 4]]})
    parquet.write_table(table, tmp_path / "x.parquet")
    floats = Form("array", np.dtype("f8"), (2,))
    found = load(tmp_path / "x.parquet", floats, key="name", columns="x,y")
    assert {key: array.tolist() for key, array in found.items()} == {"a": [1, 0.5], "b": [2, 4]}
    ints = Form("array", np.dtype("i4"), (2,))
    assert load(tmp_path / "x.parquet", ints, columns="v")[1].tolist() == [3, 4]
    with pytest.raises(FormatError, match="holds values"):
        load(tmp_path / "x.parquet", Form("array", np.dtype("i4"), (1,)), columns="y")


@pytest.mark.parametrize("extension", [".h5", ".zarr"])
def test_a_dataset_of_others_is_samples_along_its_first_axis(extension, tmp_path):
    import h5py
    import zarr

    path = tmp_path / f"x{extension}"
    images, labels = np.arange(24, dtype="u1").reshape(4, 2, 3), np.arange(4)
    root = h5py.File(path, "w") if extension == ".h5" else zarr.open_group(str(path), mode="w")
    group = root.create_group("train")
    for name, data in (("images", images), ("labels", labels)):
        if extension == ".h5":
            group.create_dataset(name, data=data)
        else:
            group.create_array(name, data=data)
    if extension == ".h5":
        root.close()
    form = Form("array", np.dtype("u1"), (2, 3))
    with pytest.raises(InvalidInputError, match="--dataset"):
        load(path, form)
    found = load(path, form, dataset="train/images")
    assert list(found) == [0, 1, 2, 3]
    np.testing.assert_array_equal(found[2], images[2])
    with pytest.raises(InvalidInputError, match="no dataset 'nope'"):
        load(path, form, dataset="nope")


def test_an_array_of_one_dimension_more_is_a_stack_of_samples(tmp_path):
    stack = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    np.save(tmp_path / "x.npy", np.asfortranarray(stack))
    found = load(tmp_path / "x.npy", Form("array", np.dtype("u1"), (2, 3)))
    assert list(found) == [0, 1, 2, 3]
    for key, array in found.items():
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, stack[key])
    np.testing.assert_array_equal(load(tmp_path / "x.npy", form_of(stack))["x"], stack)


# -- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extension", [".npy", ".npz", ".png", ".tiff", ".jpg", ".parquet", ".arrow", ".h5", ".nii.gz"]
)
def test_a_cut_off_file_is_an_error_that_names_it(extension, tmp_path):
    pixels = RANDOM.integers(0, 256, (40, 50, 3), np.uint8)
    (path,) = save(tmp_path, {"x": pixels}, extension, form_of(pixels))
    data = path.read_bytes()
    bad = tmp_path / f"bad{extension}"
    for content in (b"", b"rubbish", *(data[:size] for size in (8, len(data) // 2))):
        bad.write_bytes(content)
        with pytest.raises(FormatError, match="bad"):
            load(bad, form_of(pixels))


def test_an_archive_under_the_other_extension_is_told_apart(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", np.zeros(3))
    (tmp_path / "y.npy").rename(tmp_path / "y.npz")
    for name, better in (("x.npy", ".npz"), ("y.npz", ".npy")):
        with pytest.raises(FormatError, match=better):
            load(tmp_path / name)


def test_pickled_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], object))
    np.savez(tmp_path / "y.npz", a=np.array([{}], object))
    for name in ("x.npy", "y.npz"):
        with pytest.raises(FormatError):
            load(tmp_path / name)


@pytest.mark.parametrize("extension", [".npy", ".png", ".h5", ".zarr", ".csv", ".nii", ".wav"])
def test_the_file_system_s_own_errors_pass(extension, tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / f"nope{extension}")


def test_without_a_library_the_error_says_what_to_install(tmp_path, monkeypatch):
    needed = {".png": ("PIL.Image", "images"), ".wav": ("soundfile", "audio"),
              ".nii": ("nibabel", "nifti"), ".dcm": ("pydicom", "dicom"),
              ".parquet": ("pyarrow", "parquet"), ".mkv": ("av", "video")}  # fmt: skip
    for extension, (library, extra) in needed.items():
        monkeypatch.setitem(sys.modules, library, None)
        path = tmp_path / f"x{extension}"
        path.write_bytes(b"")
        with pytest.raises(StateError, match=rf"pip install 'hangar_git\[{extra}\]'"):
            load(path, form_of(np.zeros((2, 2, 3), "u1")))


def test_every_built_in_plugin_is_there():
    assert MANAGER.names[: len(BUILT_IN)] == list(BUILT_IN)
    assert not MANAGER.broken
