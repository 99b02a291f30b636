"""A noise report and a residual report in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_noise2self.widgets.words import NBSP, escaped

if TYPE_CHECKING:
    from napari_noise2self.engine.noise.report import ChannelNoise, NoiseReport
    from napari_noise2self.engine.residual.examine import ChannelResidual, ResidualReport


def number(value: float, unit: str = "") -> str:
    """Three digits and the unit, or "unknown"."""
    return f"{value:.3g}{NBSP}{unit}".rstrip(NBSP) if math.isfinite(value) else "unknown"


def channel_table(channel: ChannelNoise) -> str:
    """What is known about the noise of a channel, as rows of rich text."""
    gain = number(channel.gain, "grey values per electron")
    if math.isfinite(channel.gain_error):
        gain = f"{channel.gain:.3g}{NBSP}±{NBSP}{channel.gain_error:.1g} grey values per electron"
    if channel.known:
        deviation = math.sqrt(channel.mean_variance)
        noise = f"{deviation:.3g} (variance known to {channel.variance_error:.0%})"
    elif math.isfinite(channel.variance_error):
        noise = (
            f"about {math.sqrt(max(channel.mean_variance, 0)):.2g}: structure may take part in it"
        )
    else:
        noise = "unknown: structure cannot be told from noise"
    rows = [
        ("Gain", gain),
        ("Offset", f"{number(channel.offset)} (darkest local mean)"),
        ("Read noise", number(channel.read_noise)),
        ("Noise on average", noise),
    ]
    for letter, axis in channel.correlation.items():
        if not axis.rho:
            said = "unknown"
        elif axis.correlated:
            lags = ", ".join(f"{rho:.2f}" for rho in axis.rho[:3])
            said = f"<b>correlated</b>: {lags} at 1, 2, 3 pixels; extent {axis.extent}"
        else:
            said = f"not correlated ({axis.rho[0]:z.2f}{NBSP}±{NBSP}{axis.error[0]:.2f})"
            if not axis.noise_alone:
                said += ", as far as can be told beside structure"
        rows.append((f"Along {letter.lower()}", said))
    rows += [
        ("Clipped", _shares(("low", channel.clipped_low), ("high", channel.clipped_high))),
        ("Bad pixels", _shares(("hot", channel.hot), ("dead", channel.dead))),
    ]
    if channel.missing > 0:
        rows.append(("NaN or infinite", _share(channel.missing)))
    if channel.fixed_pattern is not None:
        found = channel.fixed_pattern
        rows.append(("Fixed pattern", number(found) if found else "none found"))
    if channel.from_frames:
        rows.append(("Measured on", "differences of frames"))
    cells = "".join(
        f"<tr><td style='padding-right:8px'>{name}</td><td>{value}</td></tr>"
        for name, value in rows
    )
    return f"<table>{cells}</table>"


def _shares(*named: tuple[str, float]) -> str:
    found = [f"{_share(share)} {name}" for name, share in named if share != 0]
    return ", ".join(found) or "none"


def _share(share: float) -> str:
    if not math.isfinite(share):
        return "unknown"
    if share == 0:
        return "none"
    return f"{100 * share:.2g}{NBSP}%"


def suggestion_text(report: NoiseReport) -> str:
    """What is suggested, and why."""
    partition = report.suggestion.partition
    width, extent = _sizes(partition.width), _sizes(partition.extent)
    why = "<br>".join(escaped(reason) for reason in report.suggestion.reasons)
    return (
        f"<b>Suggested:</b> mask grid {width}, hidden block {extent}, "
        f"{report.suggestion.output} output.<br>{why}"
    )


def _sizes(value: int | tuple[int, ...]) -> str:
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)


def residual_text(report: ResidualReport) -> str:
    """What was found in a residual."""
    if not report.findings:
        return f"<b>{escaped(report.summary)}</b>"
    lines = [f"<b>{escaped(report.summary)}</b>"]
    lines += [f"{escaped(f.sentence)} <i>{escaped(f.remedy)}</i>" for f in report.findings]
    return "<br>".join(lines)


def residual_numbers(channel: ChannelResidual) -> str:
    """The figures behind it."""
    ratio = number(channel.variance_ratio) if channel.level_known else "unknown"
    kept = "unknown"
    if channel.level_known:
        # At least nothing would say nothing.
        kept = f"at least {channel.kept:.0%}" if channel.kept >= 0.005 else "none found"
    deviation = math.sqrt(channel.noise.mean_variance) if channel.noise.line else math.nan
    mean = 0.0 if abs(channel.mean) < 1e-3 * deviation else channel.mean
    return (
        f"Variance over that of the noise, where it is flat: {ratio}. "
        f"Noise left in the denoised layer: {kept}. "
        f"Mean: {number(mean, 'grey values')}."
    )
