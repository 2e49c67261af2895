"""What a weights file of somebody else may hold: plain arrays alone."""

from __future__ import annotations

import math
from pathlib import Path

import h5py


def check_file(path: Path) -> None:
    """Reject an HDF5 file with anything but plain arrays, since a search saves nothing else.

    HDF5 may read arrays from other files, and a small file may claim to hold large ones. The
    reader of Keras 3.10 does not check this, and newer ones only check what they read themselves.

    Raises:
        Exception: The file has more than arrays, or is damaged.
    """
    size = 0
    with h5py.File(path, "r") as file:
        parts = [file]
        file.visititems(lambda _, part: parts.append(part))  # follows hard links alone, each once
        for part in parts:
            held = [part.attrs.get_id(name) for name in part.attrs]
            if isinstance(part, h5py.Dataset):
                held.append(part)
                if part.external or part.is_virtual or part.chunks:
                    raise ValueError(f"{part.name!r} is not stored as one piece in the file")
            elif {part.get(name, getclass=True, getlink=True) for name in part} - {h5py.HardLink}:
                raise ValueError(f"{part.name!r} has a link to somewhere else")
            # A text has a length of its own, and many elements may refer to one.
            if any(one.dtype.hasobject and one.shape != () for one in held):
                raise ValueError(f"{part.name!r} refers to other places in the file")
            size += sum(math.prod(one.shape) * one.dtype.itemsize for one in held)
    # Nothing is compressed, so what is stored takes at least as much room in the file.
    if size > path.stat().st_size:
        raise ValueError("it claims to hold more than there is in the file")
