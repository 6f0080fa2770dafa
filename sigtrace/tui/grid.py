"""A list of lines with a cursor. Only what changed is drawn again, and only lines that are seen are made at all."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from sigtrace.tui.lines import Line, fit_line

if TYPE_CHECKING:
    from textual.events import Click, Resize

_STYLES: dict[str, Style] = {}


def style_of(words: str) -> Style:
    """``red bold`` as rich knows it: the terminal's own colours, whatever they are."""
    style = _STYLES.get(words)
    if style is None:
        style = _STYLES[words] = Style.parse(words) if words else Style.null()
    return style


def strip_of(line: Line, width: int) -> Strip:
    """A line as textual draws it."""
    return Strip([Segment(text, style_of(style)) for text, style in fit_line(line, width)], width)


class Grid(ScrollView, can_focus=True):
    """Rows by their keys; ``line`` makes what is seen of one."""

    DEFAULT_CSS = "Grid { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
        Binding("enter", "open", show=False),
    ]

    class Opened(Message):
        """Enter on a row, or a click on the one with the cursor."""

        def __init__(self, grid: Grid, key: Hashable) -> None:
            super().__init__()
            self.grid = grid
            self.key = key

    class Moved(Message):
        """The cursor went to another row, or keys came here."""

    class HeadClicked(Message):
        """A click on the line above the rows, at this column of the screen."""

        def __init__(self, grid: Grid, x: int) -> None:
            super().__init__()
            self.grid = grid
            self.x = x

    def __init__(self, line: Callable[[Hashable, int], Line], empty: str, *, id: str) -> None:  # noqa: A002 - textual's
        """``line``: (key, width) → what stands in a row."""
        super().__init__(id=id)
        self._line = line
        self.empty = empty
        """what is said where there is no row"""
        self._keys: Sequence[Hashable] = ()
        self._head: Line | None = None
        self._drawn: dict[int, Line] = {}
        """what each line of the screen shows"""
        self.cursor = 0
        self.stays = False
        """the cursor keeps to its row, wherever that goes; False: to its place until it was moved"""

    @property
    def key(self) -> Hashable | None:
        """The row with the cursor."""
        return self._keys[self.cursor] if self._keys else None

    @property
    def _top(self) -> int:
        return 0 if self._head is None else 1

    def show(self, keys: Sequence[Hashable], head: Line | None = None) -> None:
        """These rows now. Draws what differs from what is seen."""
        if self.stays and self._keys and self.key in (known := {key: at for at, key in enumerate(keys)}):
            self.cursor = known[self.key]
        self._keys = keys
        self._head = head
        self.cursor = max(0, min(self.cursor, len(keys) - 1))
        size = Size(self.size.width, len(keys) + self._top)
        if size != self.virtual_size:
            self.virtual_size = size
        if self.stays:
            self._follow()
        self.redraw()

    def redraw(self) -> None:
        """Draws the lines that differ from what is seen."""
        width, height = self.size
        for y in range(height):
            before = self._drawn.get(y)
            if before is None or before != self._content(y, width):
                self.refresh(Region(0, y, width, 1))

    def _content(self, y: int, width: int) -> Line:
        if self._head is not None and y == 0:
            return self._head
        at = y - self._top + self.scroll_offset.y
        if not 0 <= at < len(self._keys):
            return [(self.empty, "dim")] if not self._keys and y == self._top else []
        line = self._line(self._keys[at], width)
        if at != self.cursor or not self.has_focus:
            return line
        # Colours turned round in patches would hide what is in them.
        return [(text, "reverse bold" if "bold" in style else "reverse") for text, style in fit_line(line, width)]

    def render_line(self, y: int) -> Strip:
        """What textual shows in a line."""
        line = self._drawn[y] = self._content(y, self.size.width)
        return strip_of(line, self.size.width)

    def on_resize(self, _event: Resize) -> None:
        """All is drawn anew."""
        self._drawn.clear()
        self.virtual_size = Size(self.size.width, len(self._keys) + self._top)
        self._follow()

    def on_focus(self) -> None:
        """The cursor shows where keys go."""
        self.redraw()
        self.post_message(self.Moved())

    def on_blur(self) -> None:
        """And where they don't."""
        self.redraw()

    def action_move(self, rows: int) -> None:
        """The cursor, so many rows down."""
        self.stays = True
        self.cursor = max(0, min(self.cursor + rows, len(self._keys) - 1))
        if self.cursor == 0:
            self.stays = False  # whoever is at the top wants to see the top
        self._follow()
        self.redraw()
        self.post_message(self.Moved())

    def action_page(self, pages: int) -> None:
        """The cursor, so many screens down."""
        self.action_move(pages * max(self.size.height - self._top - 1, 1))

    def _follow(self) -> None:
        """Scrolls to the cursor, if it is outside."""
        top, rows = self.scroll_offset.y, max(self.size.height - self._top, 1)
        wanted = min(max(top, self.cursor - rows + 1), self.cursor)
        if wanted != top:
            self.scroll_to(y=wanted, animate=False, force=True, immediate=True)

    def action_open(self) -> None:
        """What is behind the row."""
        if self.key is not None:
            self.post_message(self.Opened(self, self.key))

    def on_click(self, event: Click) -> None:
        """A row gets the cursor; the one that has it is opened."""
        if event.y < self._top:
            self.post_message(self.HeadClicked(self, event.x))
            return
        at = event.y - self._top + self.scroll_offset.y
        if 0 <= at < len(self._keys):
            if at == self.cursor and self.has_focus and event.chain > 1:
                self.action_open()
            else:
                self.action_move(at - self.cursor)
