"""The table of a comparison: sortable, one row per denoiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QAbstractItemView, QApplication, QTableWidget, QTableWidgetItem

from napari_noise2self.widgets.compare_words import COLUMNS, cells, columns_of, tie_sentence
from napari_noise2self.widgets.words import escaped

if TYPE_CHECKING:
    from napari_noise2self.engine.ranking import Ranking, Row

_NUMBER = Qt.ItemDataRole.UserRole
_NARROWEST = 352  # pixels: up to the gain
_WIDEST = 260  # pixels of a column; the rest of a long text is in its tip


class _Cell(QTableWidgetItem):
    """A text that is sorted by a key of its own."""

    def __init__(self, text: str, key: Any) -> None:
        super().__init__(text)
        self.key = key
        self.setFlags(Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        return bool(self.key < other.key) if isinstance(other, _Cell) else super().__lt__(other)


class RankingTable(QTableWidget):
    """Shows a ranking, and says which row was clicked.

    Attributes
    ----------
    chosen : Signal(object)
        The row of the ranking.
    """

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._ranking: Ranking | None = None
        self.setObjectName("ranking")
        self.setAccessibleName("Denoisers, ranked")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setWordWrap(False)
        self.setMinimumWidth(_NARROWEST)
        self.setAlternatingRowColors(False)
        vertical, horizontal = self.verticalHeader(), self.horizontalHeader()
        assert vertical is not None
        assert horizontal is not None
        vertical.setVisible(False)
        vertical.setMinimumSectionSize(18)
        vertical.setDefaultSectionSize(22)
        horizontal.setHighlightSections(False)
        horizontal.setMaximumSectionSize(_WIDEST)
        horizontal.setSortIndicator(0, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)
        # A click on the row that is chosen shows its layer again; arrow keys choose, too.
        self.cellClicked.connect(self._say)
        self.currentCellChanged.connect(self._say_moved)

    def show_ranking(self, ranking: Ranking | None, chosen: Row | None) -> None:
        """Show these rows; those that are shown already stay as they are."""
        if ranking is self._ranking:
            return
        self._ranking = ranking
        with QSignalBlocker(self):
            self.setSortingEnabled(False)
            self.clear()
            titles = [] if ranking is None else columns_of(ranking)
            self.setColumnCount(len(titles))
            self.setRowCount(0 if ranking is None else len(ranking.rows))
            for column, title in enumerate(titles):
                item = QTableWidgetItem(title)
                item.setToolTip(f"<qt>{COLUMNS[title]}</qt>")
                self.setHorizontalHeaderItem(column, item)
            if ranking is not None:
                for number in range(len(ranking.rows)):
                    self._fill(number, titles, ranking)
            self.setSortingEnabled(True)
            self.resizeColumnsToContents()
            self._select(chosen)
        self.updateGeometry()
        self.setFixedHeight(self.sizeHint().height())

    def sizeHint(self) -> QSize:  # noqa: N802
        """All rows, so that the dock scrolls and not the table in it."""
        header, bar = self.horizontalHeader(), self.horizontalScrollBar()
        assert header is not None
        height = header.sizeHint().height() + 2 * self.frameWidth()
        height += sum(self.rowHeight(row) for row in range(self.rowCount()))
        wide = header.length() > self.width()
        if bar is not None and wide:
            height += bar.sizeHint().height()
        return QSize(300, height)

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """Make room for the scroll bar that comes and goes with the width."""
        super().resizeEvent(event)
        height = self.sizeHint().height()
        if self.height() != height:
            self.setFixedHeight(height)

    def _fill(self, number: int, titles: list[str], ranking: Ranking) -> None:
        row = ranking.rows[number]
        found = cells(ranking, number)
        for column, title in enumerate(titles):
            text, key = found[title]
            item = _Cell(text, key)
            item.setData(_NUMBER, number)
            tip = tie_sentence(ranking, number) if title == "Rank" else ""
            tip = row.failure or tip or (text if title == "Parameters" else "")
            if tip:
                item.setToolTip(f"<qt>{escaped(tip)}</qt>")
            if title not in ("Denoiser", "Parameters"):
                item.setTextAlignment(
                    int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                )
            self.setItem(number, column, item)

    def _select(self, chosen: Row | None) -> None:
        for line in range(self.rowCount()):
            if self._row_at(line) is chosen and chosen is not None:
                self.setCurrentCell(line, 0)
                return
        self.clearSelection()
        self.setCurrentCell(-1, -1)

    def _row_at(self, line: int) -> Row | None:
        item = self.item(line, 0)
        if item is None or self._ranking is None:
            return None
        number: int = item.data(_NUMBER)
        return self._ranking.rows[number]

    def _say(self, line: int, _: int = 0) -> None:
        row = self._row_at(line)
        if row is not None:
            self.chosen.emit(row)

    def _say_moved(self, line: int, _: int, before: int, __: int) -> None:
        # A click says so itself; this is for the keys.
        clicked = QApplication.mouseButtons() != Qt.MouseButton.NoButton
        if line != before and self.hasFocus() and not clicked:
            self._say(line)
