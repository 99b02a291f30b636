"""Controls that docks share: choices, numbers, and forms that say what the user changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (  # type: ignore[attr-defined]
    QEvent,
    QObject,
    QSignalBlocker,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QIcon, QMouseEvent, QStandardItemModel, QValidator
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QFrame,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QWidget,
)
from superqt import QCollapsible

if TYPE_CHECKING:
    from napari.layers import Image

AUTOMATIC = "automatic"


class VerticalScrollArea(QScrollArea):
    """Scrolls up and down, and is never narrower than what it holds.

    Parameters
    ----------
    least : int
        The smallest height in pixels: what a dock gets that is added below another one.
    """

    def __init__(self, least: int = 100) -> None:
        super().__init__()
        self._least = least
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """As wide as the content with its scroll bar."""
        content, bar = self.widget(), self.verticalScrollBar()
        width = content.minimumSizeHint().width() if content is not None else 0
        return QSize(width + (bar.sizeHint().width() if bar is not None else 0), self._least)

    def sizeHint(self) -> QSize:  # noqa: N802
        """A little air beside the narrowest possible."""
        return super().sizeHint().expandedTo(self.minimumSizeHint() + QSize(24, 0))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Follow a content that grows wider."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


class Fold(QCollapsible):
    """A part of a dock that can be folded away.

    Its arrow is text: an icon would keep the colour and the size of the theme that it was made in.

    Parameters
    ----------
    title : str
    name : str
        What it says to those who cannot see it.
    tip : str
    """

    def __init__(self, title: str, name: str, tip: str) -> None:
        super().__init__(title, collapsedIcon=QIcon(), expandedIcon=QIcon())
        self._title = title
        self.setDuration(0)
        for part in (self, self.content()):
            margins = part.layout()
            if margins is not None:
                margins.setContentsMargins(0, 0, 0, 0)
        self.toggleButton().setAccessibleName(name)
        self.toggleButton().setToolTip(f"<qt>{tip}</qt>")
        self.toggled.connect(lambda: self.setText(self._title))
        self.setText(title)

    def setText(self, text: str) -> None:  # noqa: N802
        """Show another title."""
        self._title = text
        super().setText(f"{'▾' if self.isExpanded() else '▸'} {text}")


class SwitchButton(QPushButton):
    """A button that starts something, and then ends it: a double click only starts it."""

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Take the second press of a double click for no wish of its own."""
        if event is not None:
            event.accept()


class Choice(QComboBox):
    """A combo box of named values."""

    def __init__(self, choices: Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__()
        for text, value in choices:
            self.addItem(text, value)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_value(self, value: Any) -> None:
        """Choose a value."""
        self.setCurrentIndex(self.index_of(value))

    def index_of(self, value: Any) -> int:
        """Where a value is; -1 if it is not there."""
        # Not findData, which compares the way of Qt.
        return next(
            (
                i
                for i in range(self.count())
                if self.itemData(i) is value or self.itemData(i) == value
            ),
            -1,
        )

    def offer(self, value: Any, present: bool, tip: str) -> None:
        """Make one choice available, or grey it out."""
        index, model = self.index_of(value), self.model()
        item = model.item(index) if isinstance(model, QStandardItemModel) else None
        if item is not None:
            item.setEnabled(present)
            self.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)


class WholeNumber(QSpinBox):
    """A whole number; with `automatic`, the value below the minimum stands for None."""

    def __init__(self, low: int, high: int, *, step: int = 1, automatic: bool = False) -> None:
        super().__init__()
        self._automatic = automatic
        self.setRange(low - automatic, high)
        self.setSingleStep(step)
        if automatic:
            self.setSpecialValueText(AUTOMATIC)

    def set_value(self, value: int | None) -> None:
        """Show a value."""
        self.setValue(self.minimum() if value is None else value)

    def get_value(self) -> Any:
        """The value shown."""
        return None if self._automatic and self.value() == self.minimum() else self.value()


class PerAxisNumber(WholeNumber):
    """A whole number for all axes, or one per axis as in 1×3; with `odd`, odd ones."""

    def __init__(
        self, low: int, high: int, *, step: int = 1, automatic: bool = False, odd: bool = False
    ) -> None:
        # Numbers per axis; the spin box itself holds the largest of them.
        self._each: tuple[int, ...] | None = None
        self._low, self._odd = low, odd
        super().__init__(low, high, step=step, automatic=automatic)
        self.editingFinished.connect(self._tidy)

    def set_value(self, value: int | tuple[int, ...] | None) -> None:
        """Show a number, one per axis, or "automatic" for None."""
        self._each = value if isinstance(value, tuple) else None
        super().set_value(max(value) if isinstance(value, tuple) else value)
        self._show_text()

    def get_value(self) -> Any:
        """The number, one per axis, or None for "automatic"."""
        if self._each is not None:
            return tuple(self._made_odd(n) for n in self._each)
        value = super().get_value()
        return None if value is None else self._made_odd(value)

    def stepBy(self, steps: int) -> None:  # noqa: N802
        """Go up or down, with one number for all axes."""
        self._each = None
        super().stepBy(steps)
        self._show_text()

    def textFromValue(self, value: int) -> str:  # noqa: N802
        """What is shown."""
        if self._each is not None and value == max(self._each):
            return "×".join(map(str, self._each))
        return str(value)

    def valueFromText(self, text: str | None) -> int:  # noqa: N802
        """The largest of the numbers that were typed."""
        numbers = self._parsed(text or "")
        if numbers is None:
            self._each = None
            return self.minimum()
        self._each = numbers if len(numbers) > 1 else None
        return max(numbers)

    def validate(self, text: str | None, position: int) -> tuple[QValidator.State, str, int]:
        """Whether this may be typed."""
        text = text or ""
        if text == self.specialValueText() or self._parsed(text) is not None:
            state = QValidator.State.Acceptable
        elif re.fullmatch(r"[\d\sxX×]*", text) or AUTOMATIC.startswith(text):
            state = QValidator.State.Intermediate
        else:
            state = QValidator.State.Invalid
        return state, text, position

    def _parsed(self, text: str) -> tuple[int, ...] | None:
        parts = [part.strip() for part in re.split("[xX×]", text)]
        if len(parts) > 3 or not all(part.isdecimal() for part in parts):
            return None
        numbers = tuple(map(int, parts))
        fits = all(self._low <= n <= self.maximum() for n in numbers)
        return numbers if fits else None

    def _made_odd(self, number: int) -> int:
        return number | 1 if self._odd else number

    def _tidy(self) -> None:
        self.set_value(self.get_value())

    def _show_text(self) -> None:
        # The text can change while the largest number stays.
        line = self.lineEdit()
        if line is not None:
            special = self._automatic and self.value() == self.minimum()
            line.setText(AUTOMATIC if special else self.textFromValue(self.value()))


AXES_TIP = (
    "What each axis of the layer is: T time, C channels, Z depth, Y rows, X columns, S the colours "
    "of RGB, any other letter an axis without a meaning here. Correct it here if it is wrong: all "
    "docks take it from this line. Delete it to go back to what was known before."
)


def being_typed(line: QLineEdit) -> bool:
    """Whether somebody is typing into a line, and has not said yet that it is ready."""
    return line.hasFocus() and line.isModified()


class LineOfAxes(QLineEdit):
    """The letters of the axes, and below them how they are known.

    Attributes
    ----------
    note : QLabel
    """

    def __init__(self) -> None:
        super().__init__()
        self.setPlaceholderText("such as TZYX")
        self.note = QLabel()
        self.note.setObjectName("axes note")
        self.note.setAccessibleName("How the axes are known")
        self.note.setWordWrap(True)
        self.note.setVisible(False)

    def show_axes(self, letters: str, note: str) -> None:
        """Show what is known."""
        if not being_typed(self):
            self.setText(letters)
        self.note.setText(note)
        self.note.setVisible(bool(note))


class Epochs(QDoubleSpinBox):
    """A number of epochs; 0 stands for None."""

    def __init__(self) -> None:
        super().__init__()
        self.setRange(0, 100_000)
        self.setDecimals(2)
        self.setSpecialValueText(AUTOMATIC)

    def set_value(self, value: float | None) -> None:
        """Show a number of epochs."""
        self.setValue(value or 0)

    def get_value(self) -> float | None:
        """The number of epochs."""
        return self.value() or None


class SettingsForm(QWidget):
    """Shows settings and says what the user changes.

    Parameters
    ----------
    tips : dict of str to str
        What each setting means, in plain words.

    Attributes
    ----------
    edited : Signal(str, object)
        Name of a setting and its new value.
    controls : dict of str to QWidget
        By the names of the settings.
    layer : Choice
        The choice of a layer; a form adds it with `add_choice`.
    """

    edited = Signal(str, object)

    def __init__(self, tips: dict[str, str]) -> None:
        super().__init__()
        self.controls: dict[str, QWidget] = {}
        self.layer = Choice()
        self._tips = tips
        self._setters: dict[str, Callable[[Any], None]] = {}

    def show_value(self, name: str, value: Any) -> None:
        """Show a setting without saying that it was edited."""
        with QSignalBlocker(self.controls[name]):
            self._setters[name](value)

    def show_layers(self, layers: Iterable[Image], chosen: Image | None) -> None:
        """Offer these layers."""
        with QSignalBlocker(self.layer):
            self.layer.clear()
            for layer in layers:
                self.layer.addItem(layer.name, layer)
            self.layer.set_value(chosen)

    def eventFilter(  # noqa: N802
        self, watched: QObject | None, event: QEvent | None
    ) -> bool:
        """Let the wheel scroll the dock instead of changing settings in passing."""
        if (
            isinstance(watched, QWidget)
            and event is not None
            and event.type() == QEvent.Type.Wheel
            and not watched.hasFocus()
        ):
            event.ignore()
            return True
        return super().eventFilter(watched, event)

    def add_choice(self, form: QFormLayout, name: str, label: str, box: Choice) -> None:
        """Add a row with a choice."""
        box.currentIndexChanged.connect(lambda i: self.edited.emit(name, box.itemData(i)))
        self._row(form, name, label, box, box.set_value)

    def add_number(
        self, form: QFormLayout, name: str, label: str, box: WholeNumber | Epochs
    ) -> None:
        """Add a row with a number."""

        def say(_: Any = None) -> None:
            self.edited.emit(name, box.get_value())

        box.setKeyboardTracking(False)
        box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        box.valueChanged.connect(say)
        if isinstance(box, PerAxisNumber):
            # From 6 to 4×6 its largest number stays the same.
            box.editingFinished.connect(say)
        self._row(form, name, label, box, box.set_value)

    def add_axes(self, form: QFormLayout, line: LineOfAxes) -> None:
        """Add a row for the axes of a layer."""

        def say() -> None:
            # Leaving the line is no wish, as long as nothing was typed.
            if line.isModified():
                line.setModified(False)
                self.edited.emit("axes", line.text())

        line.editingFinished.connect(say)
        self._row(form, "axes", "A&xes", line, line.setText)
        form.addRow(line.note)

    def _row(
        self,
        form: QFormLayout,
        name: str,
        label: str,
        control: QWidget,
        setter: Callable[[Any], None],
    ) -> None:
        text = QLabel(label)
        text.setBuddy(control)
        text.setToolTip(f"<qt>{self._tips[name]}</qt>")
        form.addRow(text, control)
        self.register(name, label.replace("&", ""), control, setter)

    def register(
        self, name: str, title: str, control: QWidget, setter: Callable[[Any], None]
    ) -> None:
        """Take a control in: its name, its tip, and how it shows a value."""
        control.setObjectName(name)
        control.setAccessibleName(title)
        control.setAccessibleDescription(self._tips[name])
        # Rich text, so that Qt breaks the lines.
        control.setToolTip(f"<qt>{self._tips[name]}</qt>")
        control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        control.installEventFilter(self)
        self.controls[name] = control
        self._setters[name] = setter


def new_button(name: str, text: str, tip: str) -> QPushButton:
    """A button with a name and a tip.

    Parameters
    ----------
    name, text, tip : str
        How it is found, what is on it, and what it does, in plain words.
    """
    made = QPushButton(text)
    made.setObjectName(name)
    made.setAccessibleName(text.replace("&", ""))
    made.setToolTip(f"<qt>{tip}</qt>")
    return made


def selectable(name: str, title: str, *, plain: bool = False) -> QLabel:
    """A label of several lines, whose text can be copied.

    Parameters
    ----------
    name, title : str
        How it is found, and what it says to those who cannot see it.
    plain : bool
        Whether it is never rich text: a name of a layer or a file may look like that.
    """
    label = QLabel()
    if plain:
        label.setTextFormat(Qt.TextFormat.PlainText)
    label.setObjectName(name)
    label.setAccessibleName(title)
    label.setWordWrap(True)
    label.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse
        | Qt.TextInteractionFlag.TextSelectableByKeyboard
    )
    return label


def new_form() -> QFormLayout:
    """A form whose controls take the width that there is."""
    form = QFormLayout()
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    return form
