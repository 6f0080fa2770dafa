"""A text that is read: the story of a container, of a verdict, the help. A screen of its own over the table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.screen import Screen
from textual.scroll_view import ScrollView

from sigtrace.errors import SigtraceError
from sigtrace.tui.bar import Bar, Keys
from sigtrace.tui.grid import strip_of
from sigtrace.tui.lines import Line, fit_line, styled, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.events import Resize
    from textual.strip import Strip


class Page(ScrollView, can_focus=True):
    """Lines of text that scroll."""

    DEFAULT_CSS = "Page { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []

    def show(self, lines: list[Line]) -> None:
        """These now; draws again only if they differ."""
        if lines == self._lines:
            return
        self._lines = lines
        self.virtual_size = Size(self.size.width, len(lines))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """What textual shows."""
        at = y + self.scroll_offset.y
        return strip_of(self._lines[at] if at < len(self._lines) else [], self.size.width)


class Reader(Screen[None]):
    """A page, and the keys that leave it. ``write`` makes its text for a width."""

    DEFAULT_CSS = "Reader { layers: base; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,left,backspace,q", "leave", show=False),
        Binding("r", "reload", show=False),
        Binding("up", "scroll(-1)", show=False),
        Binding("down", "scroll(1)", show=False),
        Binding("pageup", "scroll(-20)", show=False),
        Binding("pagedown,space", "scroll(20)", show=False),
        Binding("home", "scroll(-1000000)", show=False),
        Binding("end", "scroll(1000000)", show=False),
    ]

    def __init__(self, title: str, write: Callable[[int], list[Line]], load: Callable[[], None] | None = None) -> None:
        """``load`` is called in a thread; it may raise SigtraceError, which is told on the page."""
        super().__init__()
        self._title = title
        self._write = write
        self._load = load
        self._failure = ""

    def compose(self) -> ComposeResult:
        """The title, the text, the keys."""
        yield Bar(self._head, id="head")
        yield Page()
        yield Keys(self._keys, id="keys")

    def _head(self, width: int) -> Line:
        return fit_line(styled([(f" {self._title}", "bold")], "reverse"), width, "reverse")

    def _keys(self) -> list[tuple[str, str, str]]:
        keys = [("Esc", "back", "screen.leave"), ("↑↓", "scroll", "screen.scroll(1)")]
        return [*keys, *([("r", "look again", "screen.reload")] if self._load else []), ("Ctrl-C", "quit", "app.quit")]

    def on_mount(self) -> None:
        """What is known is shown at once, the rest when it has come."""
        self.query_one(Page).focus()
        self.action_reload()

    def on_resize(self, _event: Resize) -> None:
        """The text is laid out anew."""
        self.redraw()

    def redraw(self) -> None:
        """With what is known by now."""
        page = self.query_one(Page)
        width = max(self.size.width - 1, 20)  # the last column may be the scroll bar's
        failed = [[("", "")], *wrapped(self._failure, width, style="yellow")] if self._failure else []
        page.show([*self._write(width), *failed])

    def action_reload(self) -> None:
        """Looks again."""
        if self._load is not None:
            self.run_worker(self._loaded(self._load), exclusive=True)

    async def _loaded(self, load: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(load)
        except SigtraceError as error:
            self._failure = str(error)
        else:
            self._failure = ""
        if self.is_attached:
            self.redraw()

    def action_scroll(self, lines: int) -> None:
        """So many lines down."""
        page = self.query_one(Page)
        page.scroll_to(y=page.scroll_offset.y + lines, animate=False, force=True, immediate=True)

    def action_leave(self) -> None:
        """Back to where it was opened."""
        self.dismiss()
