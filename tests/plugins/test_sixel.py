"""Pictures as sixels, decoded again as a terminal does."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hangar_git.plugins.sixel import sixels

TOKEN = re.compile(r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|(\$)|(-)")


def decoded(text):
    """The picture that sixels draw."""
    head = re.match(r'\x1bPq"1;1;(\d+);(\d+)', text)
    assert head
    assert text.endswith("\x1b\\")
    width, height = map(int, head.groups())
    picture = np.full((height, width, 3), 7, np.uint8)
    palette, color, x, y, at = {}, 0, 0, 0, head.end()
    while at < len(text) - 2:
        token = TOKEN.match(text, at)
        assert token, text[at : at + 20]
        at = token.end()
        number, *rgb, count, repeated, single, back, down = token.groups()
        if number is not None:
            color = int(number)
            if rgb[0] is not None:
                palette[color] = [round(int(one) * 255 / 100) for one in rgb]
        elif back or down:
            x, y = 0, y + 6 * bool(down)
        else:
            run = int(count or 1)
            for row in range(6):
                if (ord(repeated or single) - 63) >> row & 1:
                    picture[y + row, x : x + run] = palette[color]
            x += run
    return picture


@pytest.mark.parametrize("shape", [(6, 5), (13, 40), (1, 1), (7, 300)])
def test_what_is_drawn_is_the_picture(shape):
    colors = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 51], [51, 102, 204]], np.uint8)
    picture = colors[np.random.default_rng(3).integers(0, 4, shape)]
    np.testing.assert_array_equal(decoded(sixels(picture, 1000, 1000)), picture)


def test_large_pictures_are_scaled_down_and_many_colors_become_few():
    ramp = np.linspace(0, 255, 900).astype(np.uint8)
    picture = np.broadcast_to(ramp[None, :, None], (300, 900, 3)).copy()
    drawn = decoded(sixels(picture, 450, 400))
    assert drawn.shape == (150, 450, 3)
    assert np.abs(drawn[:, ::2].astype(int) - picture[::2, ::4]).max() < 12
