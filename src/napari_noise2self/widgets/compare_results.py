"""What a comparison has found: the table, what can be done with it, and the curves."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QSignalBlocker, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QAction  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QGridLayout,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from napari_noise2self.widgets.compare_table import RankingTable
from napari_noise2self.widgets.compare_words import (
    as_csv,
    as_markdown,
    basis_sentence,
    row_sentence,
    winner_sentence,
)
from napari_noise2self.widgets.controls import Choice, new_button, new_form, selectable
from napari_noise2self.widgets.runner import Stage
from napari_noise2self.widgets.words import escaped

if TYPE_CHECKING:
    from napari_noise2self.engine.ranking import Row
    from napari_noise2self.widgets.compare_figure import CurveFigure
    from napari_noise2self.widgets.compare_model import Comparer
    from napari_noise2self.widgets.theme import Colours


class ResultsView(QWidget):
    """The table and its buttons.

    Attributes
    ----------
    chosen : Signal(object)
        The row that was clicked.
    tile_requested : Signal(bool)
    whole_requested : Signal()
    """

    chosen = Signal(object)
    tile_requested = Signal(bool)
    whole_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._comparer: Comparer | None = None
        self.summary = selectable("summary", "What was found")
        self.table = RankingTable()
        self.table.chosen.connect(self.chosen)
        self.detail = selectable("detail", "The chosen row")
        self.tile = new_button("tile", "Tile", "Source and candidates side by side, and back")
        self.tile.setCheckable(True)
        self.tile.toggled.connect(self.tile_requested)
        self.copy = new_button("copy", "Copy", "Copy the table")
        self.copy.setMenu(
            self._menu(
                ("As CSV", partial(self._copy, as_csv)),
                ("As Markdown", partial(self._copy, as_markdown)),
            )
        )
        self.export = new_button("export", "E&xport", "Save the table, or all that reproduces it")
        self.export.setMenu(
            self._menu(
                ("Table and settings (JSON)…", partial(self._ask_where, ".json")),
                ("Table (CSV)…", partial(self._ask_where, ".csv")),
            )
        )
        self.whole = new_button("whole", "", "")
        self.whole.clicked.connect(self.whole_requested)
        buttons = QGridLayout()
        for column, button in enumerate((self.tile, self.copy, self.export)):
            buttons.addWidget(button, 0, column)
        buttons.addWidget(self.whole, 1, 0, 1, 3)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        for part in (self.summary, self.table, self.detail):
            rows.addWidget(part)
        rows.addLayout(buttons)

    def show_comparer(self, comparer: Comparer) -> None:
        """Show what is known."""
        self._comparer = comparer
        ranking, found, region = comparer.ranking, comparer.comparison, comparer.region
        self.setVisible(ranking is not None and bool(ranking.rows))
        self.table.show_ranking(ranking, comparer.chosen)
        if ranking is None or region is None:
            return
        lines = [f"<b>{escaped(region.source.name)}</b>, {region.words}."]
        if found is not None:
            lines[0] += f" {escaped(basis_sentence(found))}"
            lines += [f"<b>{escaped(winner_sentence(ranking))}</b>"]
        self.summary.setText("<br>".join(line for line in lines if line != "<b></b>"))
        row = comparer.chosen
        self.detail.setText(escaped(row_sentence(ranking, row)) if row is not None else "")
        self.detail.setVisible(row is not None)
        gallery = comparer.gallery
        tiled = gallery is not None and gallery.tiled
        with QSignalBlocker(self.tile):
            self.tile.setChecked(tiled)
        self.tile.setText("Back to &one" if tiled else "Tile")
        self.tile.setAccessibleName(self.tile.text().replace("&", ""))
        self.tile.setEnabled(tiled or any(r.result is not None for r in ranking.rows))
        self.export.setEnabled(found is not None)
        self._show_whole(comparer, comparer.favourite)

    def _show_whole(self, comparer: Comparer, row: Row | None) -> None:
        name = "the best" if row is None else row.name
        doubled = name.replace("&", "&&")  # or Qt would take it for a mnemonic
        self.whole.setText(f"&Denoise the whole layer: {doubled}")
        self.whole.setAccessibleName(f"Denoise the whole layer with {name}")
        self.whole.setEnabled(comparer.can_denoise)
        if not comparer.source_there:
            tip = "The layer that was compared on is no longer there"
        elif row is None:
            tip = "No denoiser has a result"
        elif not comparer.idle:
            tip = "Wait until the present work has ended, or stop it"
        elif "network" in row.settings:
            tip = "Train this network on all of the layer, with these settings, as Denoise does"
        elif "model" in row.settings:
            tip = "Apply this model to all of the layer"
        else:
            tip = "Apply this filter with these parameters to all of the layer"
        self.whole.setToolTip(f"<qt>{tip}</qt>")

    # -- the table elsewhere -------------------------------------------------

    def _menu(self, *entries: tuple[str, Callable[[], None]]) -> QMenu:
        menu = QMenu(self)
        for text, slot in entries:
            action = QAction(text, menu)
            action.triggered.connect(lambda _=False, slot=slot: slot())
            menu.addAction(action)
        return menu

    def _copy(self, form: Callable[..., str]) -> None:
        clipboard = QApplication.clipboard()
        if self._comparer is not None and self._comparer.ranking and clipboard is not None:
            clipboard.setText(form(self._comparer.ranking))

    def _ask_where(self, suffix: str) -> None:
        comparer = self._comparer
        if comparer is None or comparer.region is None:
            return
        dialog = QFileDialog(self, "Save")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilter(
            f"{'Table and settings' if suffix == '.json' else 'Table'} (*{suffix})"
        )
        # The suffix is added before the dialog asks whether to overwrite.
        dialog.setDefaultSuffix(suffix[1:])
        dialog.selectFile(f"{comparer.region.source.name} comparison{suffix}")
        dialog.fileSelected.connect(lambda path: self.save(Path(path)))
        dialog.open()

    def save(self, path: Path) -> None:
        """Write the table, as JSON with all that reproduces it or as CSV.

        Parameters
        ----------
        path : Path
            Its suffix says which.
        """
        comparer = self._comparer
        if comparer is None or comparer.ranking is None or comparer.comparison is None:
            return
        if path.suffix == ".csv":
            text = as_csv(comparer.ranking)
        else:
            text = json.dumps(comparer.to_json(), indent=2, allow_nan=False) + "\n"
        try:
            path.write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            show_error(f"{path.name} could not be written: {error.strerror or error}.")
        else:
            show_info(f"Saved as {path.name}.")


class CurvesView(QWidget):
    """The calibration curve of the filter at work, or of one that is chosen."""

    def __init__(self) -> None:
        super().__init__()
        self._comparer: Comparer | None = None
        self._colours: Colours | None = None
        self.figure: CurveFigure | None = None
        self.choice = Choice([("the filter at work", "")])
        self.choice.setObjectName("curve")
        self.choice.setAccessibleName("Filter whose calibration curve is drawn")
        self.choice.setToolTip("<qt>Whose calibration curve is drawn</qt>")
        self.choice.currentIndexChanged.connect(self._draw)
        form = new_form()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("C&urve of", self.choice)
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.addLayout(form)

    def show_comparer(self, comparer: Comparer) -> None:
        """Draw what is known by now."""
        self._comparer = comparer
        titles = comparer.curves.titles
        self.setVisible(bool(titles))
        if [self.choice.itemData(i) for i in range(1, self.choice.count())] != list(titles):
            chosen = self.choice.currentData()
            with QSignalBlocker(self.choice):
                while self.choice.count() > 1:
                    self.choice.removeItem(1)
                for name, title in titles.items():
                    self.choice.addItem(title, name)
                self.choice.set_value(chosen if chosen in titles else "")
        running = comparer.stage is Stage.COMPARING
        self.choice.setItemText(0, "the filter at work" if running else "the last filter at work")
        if titles:
            self._draw()

    def show_colours(self, colours: Colours) -> None:
        """Use the colours of the viewer."""
        self._colours = colours
        if self.figure is not None:
            self.figure.show_colours(colours)

    def _draw(self, _: int = 0) -> None:
        if self._comparer is None:
            return
        if self.figure is None:
            # Importing the plotting library takes longer than opening the dock.
            from napari_noise2self.widgets.compare_figure import CurveFigure

            self.figure = CurveFigure()
            self._rows.addWidget(self.figure)
            if self._colours is not None:
                self.figure.show_colours(self._colours)
        self.figure.show_curve(self._comparer.curves.of(self.choice.currentData()))
