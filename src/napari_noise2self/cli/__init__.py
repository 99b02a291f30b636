"""The terminal: ``napari-noise2self denoise | train | apply | noise | calibrate | …``.

One module per command.  Nothing is decided in them: the words of the command
line become settings, a file becomes a `Stack`, and the engine does the work.
Modules that take long to import are imported where they are used.
"""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Callable

import typer

from napari_noise2self.cli.apply import apply
from napari_noise2self.cli.calibrate import calibrate
from napari_noise2self.cli.demo import demo
from napari_noise2self.cli.denoise import denoise
from napari_noise2self.cli.info import info
from napari_noise2self.cli.noise import noise
from napari_noise2self.cli.package import package
from napari_noise2self.cli.preview import preview
from napari_noise2self.cli.train import train


def _paragraphs(command: Callable[..., None]) -> str:
    """The docstring of a command without its line breaks, which terminals make anew."""
    text = inspect.getdoc(command) or ""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


app = typer.Typer(
    help="Denoise microscopy images without clean ones, by Noise2Self.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (denoise, train, apply, noise, calibrate, preview, info, package, demo):
    app.command(help=_paragraphs(command))(command)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A file can be called what no terminal can show; that is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="napari-noise2self")
