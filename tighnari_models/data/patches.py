"""Satellite patches of a survey: red, green, blue and near-infrared around the place."""

import io
import os
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from tighnari_graph.errors import SurveyDataError
from tighnari_models.data.file_search import content_of, files_of_split, one_per_survey

_NAME = re.compile(r"(?i)^(?P<id>\d{1,18})\.(?:jpe?g|tiff?)$")
_ELSEWHERE = re.compile(r"(?i)landsat|bioclim|cubes|environmental|rasters")
_BAND = re.compile(r"(?<![a-z])(rgb|nir)(?![a-z])")
_MAX_PIXELS = 1024  # a side; larger ones are not decoded
_MAX_BYTES = 2**24  # of a file, twice what the largest patch takes unpacked
_MAX_SCANS = 100  # of a JPEG, each of which costs a pass; progressive ones have ten
_NONE, _LZW, _DEFLATE = 1, 5, (8, 32946)  # how a TIFF may be packed


@dataclass(frozen=True, eq=False)
class PatchFiles:
    """Where the patches of each survey lie.

    Attributes:
        rgb: survey id → JPEG of red, green and blue (2024 layout).
        nir: survey id → JPEG of near-infrared (2024 layout).
        tiff: survey id → TIFF of all four (2025 layout).
        notes: what was passed over, counted.

    Example:
        >>> files = PatchFiles(rgb={7: Path("rgb/7.jpeg"), 8: Path("rgb/8.jpeg")},
        ...     nir={7: Path("nir/7.jpeg")})
        >>> len(files), files.paths().keys()
        (1, dict_keys([7]))
    """

    rgb: dict[int, Path] = field(default_factory=dict)
    nir: dict[int, Path] = field(default_factory=dict)
    tiff: dict[int, Path] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    def paths(self) -> dict[int, tuple[Path, ...]]:
        """Survey id → what `read_patch` takes, for surveys that have all four bands."""
        if self.tiff:
            return {survey: (path,) for survey, path in self.tiff.items()}
        return {i: (path, self.nir[i]) for i, path in self.rgb.items() if i in self.nir}

    def __len__(self) -> int:
        return len(self.paths())


def find_patches(folder: str | Path, split: str) -> PatchFiles:
    """Where the patches lie below ``folder``: pairs of JPEGs (2024) or TIFFs (2025).

    A file is named ``<surveyId>.jpeg`` or ``.tiff``; which split and, for JPEGs, which bands it
    shows is told by the nearest folder whose name has the word train or test, rgb or nir.

    Raises:
        FileNotFoundError: if there is no such folder.
        SurveyDataError: if a survey has two files of a kind, or the split has JPEGs and TIFFs.
        ValueError: on another split.
    """
    top = str(Path(folder).absolute().parent)
    found: dict[str, list[tuple[int, str]]] = {"rgb": [], "nir": [], "tiff": [], "": []}
    band_of: dict[str, str] = {}  # by folder
    for match, path in files_of_split(folder, split, _NAME, _ELSEWHERE):
        survey = int(match["id"])
        if path[-1] not in "gG":
            found["tiff"].append((survey, path))
            continue
        above = path.rpartition(os.sep)[0]
        if above not in band_of:
            words = _BAND.findall(above[len(top) :].lower())
            band_of[above] = words[-1] if words else ""
        found[band_of[above]].append((survey, path))
    rgb, nir, tiff = (one_per_survey(found[k], f"{k} patches") for k in ("rgb", "nir", "tiff"))
    if tiff and (rgb or nir):
        raise SurveyDataError(
            f"{folder}: {split} surveys have {max(len(rgb), len(nir))} JPEG patches of the 2024 "
            f"layout and {len(tiff)} TIFF patches of the 2025 layout; expected one of the two"
        )
    notes = {
        "patches without near-infrared": len(rgb.keys() - nir.keys()),
        "patches without red, green and blue": len(nir.keys() - rgb.keys()),
        "JPEG files that are neither rgb nor nir": len(found[""]),
    }
    return PatchFiles(rgb, nir, tiff, {text: count for text, count in notes.items() if count})


def read_patch(*paths: str | Path) -> Shaped[np.ndarray, "4 height width"]:
    """One patch: red, green, blue, near-infrared.

    Args:
        paths: the JPEG of red, green and blue and that of near-infrared, or one TIFF.

    Shapes:
        - **output:** :math:`(4, H, W)`, uint8 of JPEGs (128 × 128 in 2024), int16 of a TIFF
          (64 × 64 in 2025)

    Units: as stored; a pixel is 10 m wide.

    Raises:
        FileNotFoundError: if a file is not there.
        ImportError: if a TIFF needs a package that is not installed.
        SurveyDataError: if a file is cut off, of another format, size or number of bands, packed
            in another way (TIFF: LZW, deflate or none), of more than 100 scans (JPEG), or wider or
            higher than 1024 pixels, which are not decoded.

    Source: Liu et al. 2024, section 3.4.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for band, mode in (("rgb", "RGB"), ("nir", "L")):
        ...         (Path(folder) / f"pa_train_patches_{band}").mkdir()
        ...         path = Path(folder) / f"pa_train_patches_{band}" / "7.jpeg"
        ...         Image.new(mode, (128, 128)).save(path)
        ...     found = find_patches(folder, "train").paths()
        ...     read_patch(*found[7]).shape
        (4, 128, 128)
    """
    if len(paths) == 1:
        return _read_tiff(Path(paths[0]))
    if len(paths) != 2:
        raise ValueError(f"{len(paths)} paths; expected RGB and near-infrared, or one TIFF")
    rgb, nir = _read_jpeg(Path(paths[0]), "RGB"), _read_jpeg(Path(paths[1]), "L")
    if rgb.shape[:2] != nir.shape[:2]:
        raise SurveyDataError(
            f"{paths[1]}: {nir.shape[1]} × {nir.shape[0]} pixels, but {rgb.shape[1]} × "
            f"{rgb.shape[0]} in {paths[0]}"
        )
    return np.concatenate([rgb.transpose(2, 0, 1), nir[None]])


def _read_jpeg(path: Path, mode: str) -> np.ndarray:
    data = content_of(path, _MAX_BYTES, "an image of some kilobytes")
    # Whatever goes wrong in bytes of unknown origin, the file is what is wrong.
    try:
        if (scans := data.count(b"\xff\xda")) > _MAX_SCANS:
            raise ValueError(f"it has {scans} scans, at most {_MAX_SCANS} are read")
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
        _require_size(path, *image.size)
        image.load()
    except (SurveyDataError, MemoryError):
        raise
    except Exception as error:
        text = "it is no JPEG" if isinstance(error, Image.UnidentifiedImageError) else error
        raise SurveyDataError(f"{path}: cannot be read as an image: {text}") from error
    if image.mode != mode:
        raise SurveyDataError(f"{path}: an image of mode {image.mode}, expected {mode}")
    return np.asarray(image)


def _require_size(path: Path, width: int, height: int) -> None:
    if max(width, height) > _MAX_PIXELS:
        raise SurveyDataError(
            f"{path}: {width} × {height} pixels, expected at most {_MAX_PIXELS} a side"
        )


def _read_tiff(path: Path) -> np.ndarray:
    try:
        import tifffile
    except ImportError as error:
        raise ImportError(
            f"{path}: patches of the 2025 layout need the package tifffile; "
            "in the checkout: pip install '.[tiff]'"
        ) from error
    data = content_of(path, _MAX_BYTES, "an image of some kilobytes")
    try:
        page: Any = tifffile.TiffFile(io.BytesIO(data)).pages.first
        shape, kind = tuple(page.shape), page.dtype
        planar = len(shape) == 3 and page.axes == "SYX"
        bands, height, width = shape if planar else (shape[-1], *shape[:2])
        if len(shape) != 3 or bands != 4 or kind != np.int16:
            raise SurveyDataError(
                f"{path}: a TIFF of {kind} {shape}, expected int16 (height, width, 4)"
            )
        _require_size(path, width, height)
        _require_no_bomb(page, data)
        values = _by_pillow(page, data) if _pillow_can(page) else page.asarray()
        if values.shape != shape or not values.size:
            raise ValueError(f"it says {shape} and holds {values.shape}")
    except SurveyDataError:
        raise
    except Exception as error:
        if "imagecodecs" in str(error):
            raise ImportError(f"{path}: {error}: pip install imagecodecs") from error
        raise SurveyDataError(f"{path}: cannot be read as a TIFF: {error}") from error
    values = values if planar else values.transpose(2, 0, 1)
    return np.ascontiguousarray(values, dtype=np.int16)


def _require_no_bomb(page: Any, data: bytes) -> None:
    """Refuse what tifffile would unpack without an end in sight."""
    if page.compression not in (_NONE, _LZW, *_DEFLATE):
        raise ValueError(f"it is packed by {page.compression!r}, expected LZW, deflate or none")
    if sum(page.databytecounts) > len(data):
        raise ValueError("its parts lie upon each other")
    if page.compression in _DEFLATE:
        left = _MAX_BYTES
        for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            part = data[start : start + length]
            left -= len(zlib.decompressobj().decompress(part, max(left, 1)))
            if left <= 0:
                raise ValueError(f"it would unpack to more than {_MAX_BYTES} bytes")


def _pillow_can(page: Any) -> bool:
    """The real files: LZW in strips. tifffile alone cannot unpack LZW, Pillow can."""
    return (
        page.compression == _LZW
        and page.planarconfig == 1
        and page.predictor in (1, 2)
        and not page.is_tiled
    )


def _by_pillow(page: Any, data: bytes) -> np.ndarray:
    """Unpack each strip as if it were a grey image, one row of bytes, and put them together."""
    height, width, bands = page.shape
    rows, unpacked = page.rowsperstrip, []
    strips = zip(page.dataoffsets, page.databytecounts, strict=True)
    for number, (offset, length) in enumerate(strips):
        size = min(rows, height - number * rows) * width * bands * 2
        tags = [(256, size), (257, 1), (258, 8), (259, _LZW), (262, 1), (273, 122)]
        tags += [(277, 1), (278, 1), (279, length)]
        head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
        head += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        strip = head + bytes(4) + data[offset : offset + length]
        unpacked.append(Image.open(io.BytesIO(strip), formats=("TIFF",)).tobytes())
    values = np.frombuffer(b"".join(unpacked), page.parent.byteorder + "i2")
    values = values.reshape(height, width, bands)
    if page.predictor == 2:  # each pixel is stored as the difference from its left neighbour
        values = np.cumsum(values, axis=1, dtype=np.int16)
    return values
