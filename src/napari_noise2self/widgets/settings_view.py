"""The controls of the *Denoise* dock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (  # type: ignore[attr-defined]
    QEvent,
    QObject,
    QSignalBlocker,
    Qt,
    Signal,
)
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_noise2self.widgets.preferences import possible_devices

if TYPE_CHECKING:
    from napari.layers import Image

AUTOMATIC = "automatic"
DEVICES = {"auto": AUTOMATIC, "cuda": "CUDA GPU", "mps": "Apple GPU (MPS)", "cpu": "CPU"}

TIPS = {
    "layer": "The noisy image. It is learned from and denoised; the layer itself is not changed.",
    "width": (
        "Every so many pixels along each axis one pixel is hidden, and the network learns to "
        "predict it from its neighbours. A narrow grid hides more at once and learns faster, a "
        "wide one leaves more of the surroundings to predict from. 4 suits most images."
    ),
    "epochs": (
        "How long to learn: in one epoch as many pixels are hidden and predicted as the layer "
        "has. Automatic plans the length from the size of the layer and the device."
    ),
    "network": (
        "UNet sees far and is fast: take it first. DnCNN looks at a smaller neighbourhood at "
        "full resolution; it is slower and can do better on fine, repetitive texture."
    ),
    "device": (
        "Where to compute. Automatic takes a CUDA or Apple graphics card if PyTorch finds one, "
        "otherwise the processor."
    ),
    "output": (
        "Single-pass shows the network the whole image at the end: usually the better picture. "
        "J-invariant predicts every pixel without looking at it; mixed adds the share of the pixel "
        "itself that makes the error smallest. Automatic chooses."
    ),
    "volume": (
        "A stack is denoised slice by slice. As a volume, each slice also learns from the slices "
        "above and below; that takes longer and pays where they show the same structures."
    ),
    "extent": (
        "Width of the block of pixels hidden around each predicted one, for noise that comes in "
        "blotches or lines. With 1 and an automatic mask grid, correlated noise is looked for "
        "and hidden as wide as it needs."
    ),
    "seed": (
        "Number that chance starts from. The same seed on the same device gives the same result; "
        "another one shows how much of the result is luck."
    ),
    "preview": (
        "Show the slice in view as it gets better during training. Costs about a tenth of the time."
    ),
}


class _Choice(QComboBox):
    """A combo box of named values."""

    def __init__(self, choices: Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__()
        for text, value in choices:
            self.addItem(text, value)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_value(self, value: Any) -> None:
        self.setCurrentIndex(self.index_of(value))

    def index_of(self, value: Any) -> int:
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


class _WholeNumber(QSpinBox):
    """A whole number; with `automatic`, the value below the minimum stands for None."""

    def __init__(self, low: int, high: int, *, step: int = 1, automatic: bool = False) -> None:
        super().__init__()
        self._automatic = automatic
        self.setRange(low - automatic, high)
        self.setSingleStep(step)
        if automatic:
            self.setSpecialValueText(AUTOMATIC)

    def set_value(self, value: int | None) -> None:
        self.setValue(self.minimum() if value is None else value)

    def get_value(self) -> int | None:
        return None if self._automatic and self.value() == self.minimum() else self.value()


class _Odd(_WholeNumber):
    """An odd number."""

    def __init__(self, high: int) -> None:
        super().__init__(1, high, step=2)
        self.editingFinished.connect(self._make_odd)

    def _make_odd(self) -> None:
        self.setValue(self.value() | 1)

    def get_value(self) -> int:
        return self.value() | 1


class _Epochs(QDoubleSpinBox):
    """A number of epochs; 0 stands for None."""

    def __init__(self) -> None:
        super().__init__()
        self.setRange(0, 100_000)
        self.setDecimals(2)
        self.setSpecialValueText(AUTOMATIC)

    def set_value(self, value: float | None) -> None:
        self.setValue(value or 0)

    def get_value(self) -> float | None:
        return self.value() or None


class SettingsView(QWidget):
    """Shows the settings and says what the user changes.

    Attributes
    ----------
    edited : Signal(str, object)
        Name of a setting and its new value.
    """

    edited = Signal(str, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.controls: dict[str, QWidget] = {}
        self._setters: dict[str, Callable[[Any], None]] = {}
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)

        main = _form()
        self.layer = _Choice()
        self._choice(main, "layer", "La&yer", self.layer)
        self._number(main, "width", "Mask &grid", _WholeNumber(2, 64, automatic=True))
        self._number(main, "epochs", "&Epochs", _Epochs())
        networks = [("UNet", "unet"), ("DnCNN", "dncnn")]
        self._choice(main, "network", "&Network", _Choice(networks))
        self.device = _Choice((DEVICES[name], name) for name in possible_devices())
        self._choice(main, "device", "&Device", self.device)
        outer.addLayout(main)

        self.advanced = QCollapsible("Advanced", collapsedIcon="▸", expandedIcon="▾")
        self.advanced.setDuration(0)
        for part in (self.advanced, self.advanced.content()):
            margins = part.layout()
            if margins is not None:
                margins.setContentsMargins(0, 0, 0, 0)
        self.advanced.toggleButton().setAccessibleName("Advanced settings")
        self.advanced.toggleButton().setToolTip("Settings that seldom need a change")
        body = QWidget()
        folded = _form()
        folded.setContentsMargins(0, 0, 0, 0)
        body.setLayout(folded)
        outputs = [
            (AUTOMATIC, "auto"),
            ("single-pass", "single-pass"),
            ("J-invariant", "j-invariant"),
            ("mixed", "mixed"),
        ]
        self._choice(folded, "output", "&Output", _Choice(outputs))
        self.volume = _Choice([("slice by slice", False), ("as a volume", True)])
        self._choice(folded, "volume", "Denoise &Z", self.volume)
        self._number(folded, "extent", "Hidden &block", _Odd(31))
        self._number(folded, "seed", "&Seed", _WholeNumber(0, 2**31 - 1))
        preview = QCheckBox("Live p&review")
        preview.toggled.connect(lambda on: self.edited.emit("preview", on))
        self._register("preview", "Live preview", preview, preview.setChecked)
        folded.addRow(preview)
        self.advanced.addWidget(body)
        outer.addWidget(self.advanced)

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

    def show_devices(self, devices: dict[str, str] | None) -> None:
        """Grey out what this computer does not have; None while that is not known."""
        if devices is None:
            return
        for name in ("cuda", "mps", "cpu"):
            self.device.offer(name, name in devices, devices.get(name, "PyTorch finds none here"))

    def show_running(self, running: bool, has_z: bool) -> None:
        """Enable what can be changed now."""
        for name, control in self.controls.items():
            control.setEnabled(name == "preview" or not running)
        self.volume.setEnabled(has_z and not running)

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

    def _choice(self, form: QFormLayout, name: str, label: str, box: _Choice) -> None:
        box.currentIndexChanged.connect(lambda i: self.edited.emit(name, box.itemData(i)))
        self._row(form, name, label, box, box.set_value)

    def _number(
        self, form: QFormLayout, name: str, label: str, box: _WholeNumber | _Epochs
    ) -> None:
        box.setKeyboardTracking(False)
        box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        box.valueChanged.connect(lambda _: self.edited.emit(name, box.get_value()))
        self._row(form, name, label, box, box.set_value)

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
        text.setToolTip(TIPS[name])
        form.addRow(text, control)
        self._register(name, label.replace("&", ""), control, setter)

    def _register(
        self, name: str, title: str, control: QWidget, setter: Callable[[Any], None]
    ) -> None:
        control.setObjectName(name)
        control.setAccessibleName(title)
        control.setAccessibleDescription(TIPS[name])
        # Rich text, so that Qt breaks the lines.
        control.setToolTip(f"<qt>{TIPS[name]}</qt>")
        control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        control.installEventFilter(self)
        self.controls[name] = control
        self._setters[name] = setter


def _form() -> QFormLayout:
    form = QFormLayout()
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    return form
