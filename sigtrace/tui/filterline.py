"""The line that a filter is typed into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.message import Message

from sigtrace.tui.bar import Bar
from sigtrace.tui.lines import Line, clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.events import Key, Paste

_LONGEST: Final = 200


class FilterLine(Bar, can_focus=True):
    """Tells each change; Enter leaves it as it is, Esc empties it."""

    class Typed(Message):
        """The text now."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, left: Callable[[], None], *, id: str) -> None:  # noqa: A002 - textual's
        """``left``: called when it is done with."""
        super().__init__(self._line, id=id)
        self._left = left
        self._text = ""

    def _line(self, _width: int) -> Line:
        return [("/", "bold"), (clean(self._text), "bold"), (" ", "reverse" if self.has_focus else "")]

    def open(self, text: str) -> None:
        """Shown, with the keys."""
        self._text = text
        self.add_class("open")
        self.screen.set_focus(self)

    def leave(self, text: str) -> None:
        """Hidden; the text is this."""
        self.remove_class("open")
        self._change(text)
        self._left()

    def on_key(self, event: Key) -> None:
        """All keys but those that end the program are text here."""
        if event.key in ("ctrl+c", "tab", "shift+tab") or not self.has_class("open"):
            return  # the latter came behind the key that closed it, and is for whoever has the keys now
        event.stop()
        event.prevent_default()
        if event.key == "enter":
            self.leave(self._text)
        elif event.key == "escape":
            self.leave("")
        elif event.key == "backspace":
            self._change(self._text[:-1])
        elif event.key == "ctrl+u":
            self._change("")
        elif event.is_printable and event.character:
            self._change(self._text + event.character)

    def on_paste(self, event: Paste) -> None:
        """Its first line."""
        event.stop()
        self._change(self._text + (event.text.splitlines() or [""])[0])

    def _change(self, text: str) -> None:
        self._text = text[:_LONGEST]
        self.post_message(self.Typed(self._text))
        self.redraw()
