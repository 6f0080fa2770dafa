"""The app: a table of containers, below it the verdicts; what is behind either on Enter."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import App
from textual.binding import Binding, BindingType

from sigtrace.model.overview import Snapshot
from sigtrace.tui.bar import Bar, Keys
from sigtrace.tui.cells import SORTS, Layout
from sigtrace.tui.cutoff import is_cut_off, notice_size, silence
from sigtrace.tui.filterline import FilterLine
from sigtrace.tui.grid import Grid
from sigtrace.tui.help import help_lines
from sigtrace.tui.page import Reader
from sigtrace.tui.readers import container_reader, verdict_reader
from sigtrace.tui.view import View

if TYPE_CHECKING:
    from collections.abc import Hashable

    from textual.app import ComposeResult
    from textual.events import Resize

    from sigtrace.tui.feed import Feed

#: How often the feed is asked (s): before the first snapshot, and after it.
_EAGER_S: Final = 0.02
_POLL_S: Final = 0.2
#: By then a terminal that was given back has its other screen again.
_RESUMED_S: Final = 0.3
#: Lines of a screen that has one to spare for what to do.
_ROOMY: Final = 16
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Top(App[None]):
    """``Top(feed).run()`` returns when the user, a signal or the terminal's end ends it."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #containers { height: 3fr; }
    #verdicts { height: 1fr; min-height: 4; }
    #line { display: none; }
    #line.open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", priority=False, show=False),
        Binding("ctrl+z", "suspend_process", priority=True, show=False),
        Binding("ctrl+l", "repaint", show=False),
        Binding("question_mark,f1", "help", show=False),
        # First of all: the keys right behind it (a fast hand, a paste) are for the line that it opens.
        Binding("slash,f", "filter", show=False, priority=True),
        Binding("escape", "clear", show=False),
        Binding("p,space", "pause", show=False),
        Binding("r", "reverse", show=False),
        Binding("tab,shift+tab", "other", show=False, priority=True),
        Binding("left", "seek(-10)", show=False),
        Binding("right", "seek(10)", show=False),
        Binding("shift+left", "seek(-60)", show=False),
        Binding("shift+right", "seek(60)", show=False),
        Binding("plus,equals_sign", "speed(2)", show=False),
        Binding("minus", "speed(0.5)", show=False),
        *(Binding(key, f"sort('{key}')", show=False) for key in SORTS),
    ]

    def __init__(self, feed: Feed, empty: str = "no container is running", duration_s: float | None = None) -> None:
        """``empty``: what is said where there is no container. ``duration_s``: it ends by itself then."""
        # The terminal's own colours, whatever they are: light and dark, 8, 16, 256 or all of them, and NO_COLOR.
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self._feed = feed
        self._seen: tuple[Snapshot | None, str, object] = (None, "", None)
        self._none = empty
        self._duration_s = duration_s
        self.view = View()
        self._sized = (0, 0)
        """what it was laid out for; App.size is what the terminal has"""
        self.failure: BaseException | None = None

    def compose(self) -> ComposeResult:
        """Header, containers, verdicts, what to do, the filter when it is open, keys."""
        view, feed = self.view, self._feed
        yield Bar(lambda width: view.head(width, feed.state), id="head")
        yield Grid(view.row_line, self._none, id="containers")
        yield Bar(lambda width: view.between(width, feed.player), id="between")
        yield Grid(view.brief_line, "no verdict yet", id="verdicts")
        yield Bar(lambda width: view.mend_line(self._under_cursor(), width), id="mend")
        yield FilterLine(self._filter_left, id="line")
        yield Keys(lambda: view.keys(feed.player), id="keys")

    def _under_cursor(self) -> Hashable | None:
        """The container or the verdict that keys are for."""
        main = self.screen_stack[0]
        verdicts = main.query_one("#verdicts", Grid)
        return verdicts.key if verdicts.has_focus else main.query_one("#containers", Grid).key

    # How it lives.

    def on_mount(self) -> None:
        """From now on signals end it in order, and the feed is asked."""
        loop = asyncio.get_running_loop()
        for signo in _SIGNALS:
            if signal.getsignal(signo) is not signal.SIG_IGN:
                loop.add_signal_handler(signo, self._end)
        self.query_one("#containers", Grid).focus()
        self._timer = self.set_interval(_EAGER_S, self._poll)
        if self._duration_s is not None:
            self.set_timer(self._duration_s, self._end)
        self.app_resume_signal.subscribe(self, lambda _: self._resumed())

    def on_unmount(self) -> None:
        """Signals are as they were for asyncio.run's owner."""
        loop = asyncio.get_running_loop()
        for signo in _SIGNALS:
            loop.remove_signal_handler(signo)

    def _fatal_error(self) -> None:
        # textual would print a traceback; whoever runs us tells it in a line.
        self.failure = self._exception
        self._close_messages_no_wait()

    def _end(self) -> None:
        """In order; where the terminal is gone, without the words that would restore it."""
        if not self.is_headless and is_cut_off():
            silence(self._driver)
        self.exit()

    def _poll(self) -> None:
        if not self.is_headless:
            if is_cut_off():
                self._end()
                return
            notice_size(*self._sized)
        if self.view.snapshot is None and self._feed.failure is not None:
            self.failure = self._feed.failure  # there will be nothing to show: it is told as other commands do
            self.exit()
            return
        player = self._feed.player
        news = (
            self._feed.newest(),
            self._feed.state,
            (player.speed, player.paused, player.place[1]) if player else None,
        )
        if news == (self._seen if news[0] is self._seen[0] else None):
            return
        if self._seen[0] is None and news[0] is not None:
            self._timer.stop()
            self._timer = self.set_interval(_POLL_S, self._poll)
        self._seen = news
        if not self.view.paused or self.view.snapshot is None:
            self.view.snapshot = news[0]
        self._refresh()

    def on_resize(self, event: Resize) -> None:
        """Other columns have room now."""
        self._sized = event.size
        self.view.layout = Layout.of(max(event.size.width - 1, 20))
        self.screen_stack[0].query_one("#mend").display = event.size.height >= _ROOMY
        self._refresh()
        self.call_after_refresh(self.action_repaint)

    def _refresh(self) -> None:
        """What changed on the table is drawn; a page that is open over it as well."""
        main, view = self.screen_stack[0], self.view
        view.arrange()
        if view.snapshot is not None:
            containers = main.query_one("#containers", Grid)
            containers.empty = "no container matches the filter" if view.words else self._none
            containers.show(list(view.rows), view.columns())
            main.query_one("#verdicts", Grid).show(list(view.briefs))
        for bar in main.query(Bar):
            bar.redraw()
        if isinstance(self.screen, Reader):
            self.screen.redraw()

    # What keys do.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Over a page only the page's keys work, and those that end the program."""
        del parameters
        if len(self.screen_stack) > 1:
            return action in ("quit", "suspend_process", "repaint")
        return action != "filter" or not self.query_one(FilterLine).has_class("open")  # there it is text

    def _resumed(self) -> None:
        """The shell has written over the screen, and textual draws only what it takes for changed."""
        self.action_repaint()
        self.set_timer(_RESUMED_S, self.action_repaint)

    def action_repaint(self) -> None:
        """All of it: after a suspension, or when something else wrote to the terminal."""
        for widget in self.screen.walk_children():
            widget.refresh()

    def action_sort(self, key: str) -> None:
        """By this column; again: the other way round."""
        self.view.sort_by(key)
        self._refresh()

    def action_reverse(self) -> None:
        """The other way round."""
        self.view.reverse = not self.view.reverse
        self._refresh()

    def action_pause(self) -> None:
        """Holds what is shown, or the recording."""
        if (player := self._feed.player) is not None:
            player.paused = not player.paused
        else:
            self.view.paused = not self.view.paused
            self.view.snapshot = self.view.snapshot if self.view.paused else self._seen[0]
        self._refresh()

    def action_seek(self, seconds: float) -> None:
        """In a recording."""
        if (player := self._feed.player) is not None:
            player.seek(seconds)

    def action_speed(self, factor: float) -> None:
        """Of a recording: 1/8 to 1024 times."""
        if (player := self._feed.player) is not None:
            player.speed = min(max(player.speed * factor, 0.125), 1024.0)
            self._refresh()

    def action_other(self) -> None:
        """Between the containers and the verdicts."""
        here = self.query_one("#containers", Grid)
        self.screen.set_focus(self.query_one("#verdicts", Grid) if here.has_focus else here)

    def action_open(self) -> None:
        """What is behind the cursor."""
        if isinstance(self.focused, Grid):
            self.focused.action_open()

    def action_help(self) -> None:
        """Keys and columns."""
        player = self._feed.player is not None
        self.push_screen(Reader("sigtrace top: help", lambda width: help_lines(width, player=player)))

    def action_filter(self) -> None:
        """A line to type in."""
        self.query_one(FilterLine).open(" ".join(self.view.words))

    def action_clear(self) -> None:
        """All containers again."""
        self.query_one(FilterLine).leave("")

    def on_filter_line_typed(self, typed: FilterLine.Typed) -> None:
        """As you type."""
        self.view.words = typed.text.casefold().split()
        self._refresh()

    def _filter_left(self) -> None:
        # At once: the next key is for the containers already.
        self.screen.set_focus(self.query_one("#containers", Grid))

    def on_grid_head_clicked(self, click: Grid.HeadClicked) -> None:
        """Sorted by that column."""
        column = self.view.layout.column_at(click.x)
        if column is not None and column.key:
            self.action_sort(column.key)

    def on_grid_moved(self) -> None:
        """Another container or verdict has the cursor."""
        self.screen_stack[0].query_one("#mend", Bar).redraw()

    def on_grid_opened(self, opened: Grid.Opened) -> None:
        """A container or a verdict."""
        if opened.grid.id == "containers":
            row = self.view.rows[opened.key]
            self.push_screen(container_reader(self._feed, row, lambda: self.view.snapshot))
        else:
            self.push_screen(verdict_reader(self._feed, self.view.briefs[opened.key]))
