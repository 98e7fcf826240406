"""Plugins of installed distributions, and the functions of `hangar_git.external`."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hangar_git import external
from hangar_git.errors import InvalidInputError, StateError
from hangar_git.plugins.manager import PluginManager, plugin_manager

SOURCE = """
from {package} import BasePlugin
import numpy as np

class Plugin(BasePlugin):
    def __init__(self):
        super().__init__(("load", "save", "show"), [{extension!r}])

    def load(self, fpath, *args, **kwargs):
        def rows():
            with open(fpath) as file:
                for number, line in enumerate(file):
                    yield np.array([float(line)]), f"{{self.sample_name(fpath)}}-{{number}}"
        return rows()

    def save(self, arr, outdir, sample_detail, extension, *args, **kwargs):
        with open(f"{{outdir}}/all.{extension}", "a") as file:
            file.write(f"{{sample_detail}} {{arr.tolist()}}\\n")

class NoBase:
    provides = ["save"]
    accepts = [".own"]
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution with plugins of either group, good and broken."""
    place = tmp_path / "site"
    info = place / "plugs-1.0.dist-info"
    info.mkdir(parents=True)
    (place / "plugs_ours.py").write_text(
        SOURCE.format(package="hangar_git.external", extension="lines")
    )
    (place / "plugs_original.py").write_text(
        SOURCE.format(package="hangar.external", extension="rows")
    )
    (place / "plugs_exits.py").write_text("import sys; sys.exit(3)")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[hangar_git.plugins]\nlines = plugs_ours:Plugin\nbroken = plugs_missing:Plugin\n"
        "exits = plugs_exits:Plugin\nimages = plugs_ours:Plugin\nhollow = plugs_ours:NoBase\n"
        "[hangar.external.plugins]\nrows = plugs_original:Plugin\n"
    )
    monkeypatch.syspath_prepend(str(place))
    plugin_manager.cache_clear()
    yield tmp_path
    plugin_manager.cache_clear()


def test_plugins_of_both_groups_are_found_and_broken_ones_named(installed):
    manager = PluginManager()
    assert {"lines", "rows", "hollow", "images"} <= set(manager.names)
    assert set(manager.broken) == {"broken", "exits", "images"}
    assert "plugs_missing" in manager.broken["broken"]
    assert "already" in manager.broken["images"]
    assert "hangar" not in sys.modules
    assert manager.find("load", None, ".ROWS")[0] == "rows"
    with pytest.raises(InvalidInputError, match="plugs_missing"):
        manager.get_plugin("load", "broken")
    with pytest.raises(StateError, match="has none"):
        manager.get_plugin("save", "hollow")


def test_the_functions_of_external_use_them_and_warn_of_broken_ones(installed):
    (installed / "x.lines").write_text("1\n2\n")
    with pytest.warns(UserWarning, match="cannot be loaded"):
        found = external.load(str(installed / "x.lines"))
    assert [(array.tolist(), name) for array, name in found] == [([1.0], "x-0"), ([2.0], "x-1")]
    external.save(np.ones(2), str(installed), "int:7", "lines")
    assert (installed / "all.lines").read_text() == "int:7 [1.0, 1.0]\n"
    with pytest.raises(NotImplementedError):
        external.show(np.ones(2), plugin="lines")


def test_external_loads_saves_and_shows_by_built_in_plugins(tmp_path, capsys):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    external.save(pixels, tmp_path, "str:x", "png")
    array, name = external.load(tmp_path / "x.png")
    assert name == "x"
    np.testing.assert_array_equal(array, pixels)
    external.show(pixels, extension="npy")
    assert "11" in capsys.readouterr().out
    assert external.board_show(pixels, plugin="images").size == (4, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: external.load("x.unheard"),
        lambda: external.load("x"),
        lambda: external.load("x.png", plugin="nope"),
        lambda: external.save(np.ones(2), ".", "a", ""),
        lambda: external.show(np.ones(2)),
        lambda: external.BasePlugin(["fly"], []),
    ],
)
def test_what_there_is_no_plugin_for_is_a_value_error(wrong):
    with pytest.raises(ValueError, match="plugin"):
        wrong()
