"""docs/img/top.svg, which the README shows, is what the app draws."""

import os
import re
from pathlib import Path

from tests.unit.tui.scene import LOST, Scene

PICTURE = Path(__file__).parents[3] / "docs" / "img" / "top.svg"


def made(svg):
    """Without fonts from elsewhere, and with ids that don't change."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"terminal-\d+", "top", svg).strip() + "\n"


def test_the_picture_in_the_readme_is_the_screen(show):
    async def scene(shown):
        return shown.app.export_screenshot(title="sigtrace top")

    svg = made(show(scene, 116, 30, Scene(LOST)))
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    if os.environ.get("SIGTRACE_UPDATE_SCREENS") == "1":
        PICTURE.write_text(svg, encoding="utf-8")
    assert PICTURE.read_text(encoding="utf-8") == svg, "make it anew: SIGTRACE_UPDATE_SCREENS=1"
