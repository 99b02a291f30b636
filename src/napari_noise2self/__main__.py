"""``python -m napari_noise2self`` is the command ``napari-noise2self``."""

from napari_noise2self.cli import main

main()
