"""Files of samples: what is read from them, what they are called, and which are refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hangar_git.cli.formats import Sample, file_stem, key_of_stem, load, save, targets
from hangar_git.errors import FormatError, InvalidInputError, StateError

STACK = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)


def samples(path, rank, plugin=None):
    return dict(load(path, rank, plugin))


@pytest.mark.parametrize("key", [0, 10, 2**63 - 1, "10", "a7", "int", ".", "a.b-c_d"])
def test_a_name_comes_back_from_the_name_of_its_file(key, tmp_path):
    stem = file_stem(key)
    assert key_of_stem(stem) == key
    assert type(key_of_stem(stem)) is type(key)
    (path,) = targets(tmp_path, "x", [key], ".npy")
    assert path.stem == stem


@pytest.mark.parametrize("stem", ["", "a b", "int=", "int=-1", f"int={2**63}", "str=10", "int=1=2"])
def test_a_file_name_that_no_sample_can_have_is_refused(stem):
    with pytest.raises(InvalidInputError):
        key_of_stem(stem)


def test_an_array_of_one_dimension_more_is_a_stack_of_samples(tmp_path):
    np.save(tmp_path / "x.npy", np.asfortranarray(STACK))
    found = samples(tmp_path / "x.npy", 2)
    assert list(found) == [0, 1, 2, 3]
    for key, array in found.items():
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, STACK[key])
    (whole,) = samples(tmp_path / "x.npy", 3).items()
    assert whole[0] == "x"
    np.testing.assert_array_equal(whole[1], STACK)


def test_samples_of_rank_0_stay_so(tmp_path):
    np.save(tmp_path / "many.npy", np.arange(3))
    assert [array.shape for array in samples(tmp_path / "many.npy", 0).values()] == [()] * 3
    np.save(tmp_path / "one.npy", np.array(7))
    assert samples(tmp_path / "one.npy", 0)["one"].shape == ()


@pytest.mark.parametrize("extension", [".npy", ".npz", ".png", ".tiff", ".bmp"])
def test_what_is_exported_is_imported_unchanged(extension, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5, 3), np.uint8)
    written = {10: pixels, "10": pixels[::-1].copy(), "a": pixels[:2].copy()}
    save(tmp_path, "x", (Sample(*one) for one in written.items()), extension, overwrite=False)
    found = {}
    for path in tmp_path.iterdir():
        found |= samples(path, 3)
    assert found.keys() == written.keys()
    for key, array in written.items():
        np.testing.assert_array_equal(found[key], array)


def test_gray_images_have_two_dimensions_or_one_channel(tmp_path):
    gray = np.arange(30, dtype=np.uint8).reshape(5, 6)
    save(tmp_path, "x", [Sample("a", gray), Sample("b", gray[..., None])], ".png", overwrite=False)
    for name in "ab":
        np.testing.assert_array_equal(samples(tmp_path / f"{name}.png", 2)[name], gray)


def test_a_palette_image_is_indices_in_two_dimensions_and_colors_in_three(tmp_path):
    image = pytest.importorskip("PIL.Image")
    mask = image.fromarray(np.array([[0, 1], [1, 2]], np.uint8), mode=None).convert("L")
    mask = image.frombytes("P", (2, 2), mask.tobytes())
    mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    mask.save(tmp_path / "m.png")
    assert samples(tmp_path / "m.png", 2)["m"].tolist() == [[0, 1], [1, 2]]
    assert samples(tmp_path / "m.png", 3)["m"][1, 1].tolist() == [0, 255, 0]


def test_an_image_file_of_several_pages_is_refused(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pages = [image.fromarray(np.full((3, 3), number, np.uint8)) for number in range(2)]
    pages[0].save(tmp_path / "x.tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(InvalidInputError, match="2 images"):
        samples(tmp_path / "x.tiff", 2)


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 3)), np.zeros(3, np.uint8), np.zeros((3, 3, 2), np.uint8)],
    ids=["floats", "one-dimension", "two-channels"],
)
def test_what_is_no_image_is_not_exported_as_one(array, tmp_path):
    with pytest.raises(InvalidInputError, match=r"sample .a.: .*npy"):
        save(tmp_path, "x", [Sample("a", array)], ".png", overwrite=False)
    assert not list(tmp_path.iterdir())


def test_an_image_that_its_format_cannot_hold_leaves_no_file(tmp_path):
    transparent = np.zeros((3, 3, 4), np.uint8)
    with pytest.raises(InvalidInputError, match="jpg"):
        save(tmp_path, "x", [Sample("a", transparent)], ".jpg", overwrite=False)
    assert not list(tmp_path.iterdir())


def damaged(path, tmp_path):
    """Variants of a good file that cannot be right."""
    data = path.read_bytes()
    yield b""
    yield b"rubbish"
    yield from (data[:size] for size in (8, len(data) // 2, len(data) - 1))


@pytest.mark.parametrize("extension", [".npy", ".npz", ".png", ".tiff", ".jpg"])
def test_a_cut_off_file_is_a_format_error_that_names_it(extension, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    save(tmp_path, "x", [Sample("x", pixels)], extension, overwrite=False)
    bad = tmp_path / f"bad{extension}"
    errors = 0
    for data in damaged(tmp_path / f"x{extension}", tmp_path):
        bad.write_bytes(data)
        try:
            found = samples(bad, 3)
        except FormatError as error:
            assert "bad" in str(error)
            errors += 1
        else:  # the last bytes of an image file may mean nothing
            assert extension in (".png", ".tiff", ".jpg")
            np.testing.assert_array_equal(next(iter(found.values())).shape, pixels.shape)
    assert errors >= 4


def test_an_archive_under_the_other_extension_is_told_apart(tmp_path):
    np.savez(tmp_path / "x.npz", a=STACK)
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", STACK)
    (tmp_path / "y.npy").rename(tmp_path / "y.npz")
    for name, better in (("x.npy", ".npz"), ("y.npz", ".npy")):
        with pytest.raises(FormatError, match=better):
            samples(tmp_path / name, 2)


def test_pickled_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], object))
    np.savez(tmp_path / "y.npz", a=np.array([{}], object))
    for name in ("x.npy", "y.npz"):
        with pytest.raises(FormatError):
            samples(tmp_path / name, 1)


def test_the_file_system_s_own_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError):
        samples(tmp_path / "nope.npy", 1)
    with pytest.raises(FileNotFoundError):
        samples(tmp_path / "nope.png", 1)


def test_a_plugin_overrides_the_extension(tmp_path):
    np.save(tmp_path / "x.npy", STACK)
    (tmp_path / "x.npy").rename(tmp_path / "x.data")
    with pytest.raises(InvalidInputError, match="npy"):
        samples(tmp_path / "x.data", 3)
    np.testing.assert_array_equal(samples(tmp_path / "x.data", 3, "numpy")["x"], STACK)


def test_without_pillow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(StateError, match=r"pip install 'hangar_git\[images\]'"):
        samples(tmp_path / "x.png", 2)


def test_files_are_not_overwritten_unless_asked(tmp_path):
    for extension in (".npy", ".npz"):
        save(tmp_path, "x", [Sample("x", STACK)], extension, overwrite=False)
        with pytest.raises(FileExistsError):
            save(tmp_path, "x", [Sample("x", STACK[:1])], extension, overwrite=False)
        save(tmp_path, "x", [Sample("x", STACK[:1])], extension, overwrite=True)
        assert samples(tmp_path / f"x{extension}", 3)["x"].shape == (1, 2, 3)
