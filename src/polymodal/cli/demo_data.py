"""The demo's pictures: photographs that installed packages ship, drawn products, spoilt copies."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from polymodal.errors import MissingDependency

__all__ = ["DemoFolders", "prepare"]

PHOTOGRAPHS = {
    "skimage": (
        "data",
        "astronaut.png brick.png camera.png chelsea.png clock_motion.png coffee.png coins.png"
        " grass.png gravel.png hubble_deep_field.jpg moon.png motorcycle_left.png"
        " motorcycle_right.png retina.jpg rocket.jpg",
    ),
    "sklearn": ("datasets/images", "china.jpg flower.jpg"),
}
"""Package to its folder of pictures and the real photographs in it."""
ENOUGH = 12
COPIED = ("chelsea.png", "coffee.png", "china.jpg")


@dataclass(frozen=True)
class DemoFolders:
    """Where everything lies, below one folder."""

    root: Path

    @property
    def photos(self) -> Path:
        """Real photographs."""
        return self.root / "pictures" / "photos"

    @property
    def shop(self) -> Path:
        """Drawn products and their table of metadata."""
        return self.root / "pictures" / "shop"

    @property
    def copies(self) -> Path:
        """Re-encoded, resized and cropped copies of photographs."""
        return self.root / "copies"

    @property
    def uploads(self) -> Path:
        """What a seller might send: a clean picture, a blurred and a dark one."""
        return self.root / "uploads"

    @property
    def wanted(self) -> Path:
        """A product that the shop does not have, to search with."""
        return self.root / "wanted.jpg"

    @property
    def spoken(self) -> Path:
        """A spoken query; there only where it can be understood."""
        return self.root / "spoken-query.flac"

    @property
    def clip(self) -> Path:
        """A video of some of the photographs; there only where it can be watched."""
        return self.root / "clip.mp4"

    @property
    def receipt(self) -> Path:
        """A drawn receipt; there only where it can be read."""
        return self.root / "receipt.jpg"


def prepare(root: Path) -> DemoFolders:
    """Make what is not there yet.

    Raises:
        MissingDependency: when the packages that ship the photographs are not installed.
    """
    folders = DemoFolders(root)
    for folder in (folders.photos, folders.shop, folders.copies, folders.uploads):
        folder.mkdir(parents=True, exist_ok=True)
    _copy_photographs(folders.photos)
    _draw(folders)
    _make_copies(folders)
    _make_uploads(folders)
    _film(folders)
    _print_receipt(folders)
    return folders


def _copy_photographs(target: Path) -> None:
    for package, (folder, names) in PHOTOGRAPHS.items():
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            for name in names.split():
                source = Path(place, folder, name)
                if source.is_file() and not (target / name).exists():
                    shutil.copyfile(source, target / name)
    found = sum(1 for file in target.iterdir() if file.is_file())
    if found < ENOUGH:
        raise MissingDependency(
            f"the demo needs the photographs that scikit-image and scikit-learn ship ({found} of"
            f" at least {ENOUGH} found). Install them: pip install 'polymodal[demo]'"
        )


def _draw(folders: DemoFolders) -> None:
    from polymodal.cli.demo_products import Product, draw_shop, picture_of

    draw_shop(folders.shop)
    if not folders.wanted.exists():
        picture_of(Product("mug", "orange", "", 0), seed=99).save(folders.wanted, quality=90)


def _film(folders: DemoFolders) -> None:
    from polymodal.cli.demo_speech import can_listen, write_clip, write_spoken

    if can_listen():
        write_spoken(folders.spoken)
        write_clip(folders.clip, folders.photos)


def _print_receipt(folders: DemoFolders) -> None:
    from polymodal.cli.demo_receipt import can_read, write_receipt

    if can_read():
        write_receipt(folders.receipt)


def _make_copies(folders: DemoFolders) -> None:
    from PIL import Image

    for number, name in enumerate(COPIED):
        target = folders.copies / f"{Path(name).stem}-copy.jpg"
        if target.exists():
            continue
        with Image.open(folders.photos / name) as opened:
            image = opened.convert("RGB")
        width, height = image.size
        if number == 1:
            image = image.resize((width // 2, height // 2))
        elif number == 2:
            inset = width // 25
            image = image.crop((inset, inset, width - inset, height - inset))
        image.save(target, quality=70)


def _make_uploads(folders: DemoFolders) -> None:
    from PIL import Image, ImageEnhance, ImageFilter

    with Image.open(folders.shop / "blue-sneaker.jpg") as opened:
        clean = opened.convert("RGB")
    uploads = {
        "sneaker.jpg": clean,
        "sneaker-blurred.jpg": clean.filter(ImageFilter.GaussianBlur(7)),
        "sneaker-dark.jpg": ImageEnhance.Brightness(clean).enhance(0.13),
    }
    for name, image in uploads.items():
        if not (folders.uploads / name).exists():
            image.save(folders.uploads / name, quality=90)
