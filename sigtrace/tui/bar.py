"""One line that is not a list: the header, the keys at the bottom."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.widget import Widget

from sigtrace.tui.grid import strip_of
from sigtrace.tui.lines import Line, width_of

if TYPE_CHECKING:
    from textual.events import Click
    from textual.strip import Strip


class Bar(Widget):
    """Draws itself again only when its line differs."""

    DEFAULT_CSS = "Bar { height: 1; }"

    def __init__(self, made: Callable[[int], Line], *, id: str) -> None:  # noqa: A002 - textual's
        """``made``: width → the line."""
        super().__init__(id=id)
        self._made = made
        self._drawn: Line | None = None

    def redraw(self) -> None:
        """If there is something new."""
        if self._made(self.size.width) != self._drawn:
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """What textual shows."""
        self._drawn = self._made(self.size.width) if y == 0 else []
        return strip_of(self._drawn, self.size.width)


class Keys(Bar):
    """Keys and what they do; a click does it, too."""

    def __init__(self, keys: Callable[[], list[tuple[str, str, str]]], *, id: str) -> None:  # noqa: A002 - textual's
        """``keys``: (key, what it does, action) of each."""
        super().__init__(self._line, id=id)
        self._keys = keys
        self._places: list[tuple[int, str]] = []

    def _line(self, width: int) -> Line:
        line: Line = []
        at = 0
        self._places = []
        for key, what, action in self._keys():
            text = f" {what}  "
            if at + width_of(key) + width_of(text) - 2 > width:
                break
            line += [(key, "bold reverse"), (text, "")]
            at += width_of(key) + width_of(text)
            self._places.append((at, action))
        return line

    async def on_click(self, event: Click) -> None:
        """The key that stands there."""
        for end, action in self._places:
            if event.x < end:
                await self.run_action(action)
                return
