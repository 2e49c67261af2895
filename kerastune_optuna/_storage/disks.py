"""The disk of a folder: its free space, whether machines share it, and which file is which."""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path

import psutil

# The types of filesystems that several machines mount. FUSE puts "fuse." before these names.
_SHARED = {
    *("9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "davfs", "dvs", "gcsfuse", "gfs2"),
    *("glusterfs", "gpfs", "juicefs", "lustre", "mfs", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs"),
    *("panfs", "pvfs2", "rclone", "s3fs", "smb3", "smbfs", "sshfs", "vboxsf", "virtiofs", "wekafs"),
}


@lru_cache
def network_of(folder: Path) -> str | None:
    """Return the type of the network filesystem that a folder is on; None for a local disk."""
    place = folder.resolve()
    found = ("", Path())
    for disk in psutil.disk_partitions(all=True):
        mounted = Path(disk.mountpoint)
        # A later mount at the same place hides an earlier one.
        if place.is_relative_to(mounted) and len(mounted.parts) >= len(found[1].parts):
            found = (disk.fstype, mounted)
    return found[0] if found[0].removeprefix("fuse.") in _SHARED else None


def inode(file: Path) -> int | None:
    """Return a number that a file shares with no copy of it; None if it is gone."""
    if not file.exists():
        return None
    # On sshfs the inode of a file may change while it is in use.
    return file.stat().st_ino if network_of(file.parent) is None else 0


def room(folder: Path, needed: float) -> str:
    """Return a clause that says how much room a folder has, and how much is needed."""
    folder = next(one for one in (folder, *folder.parents) if one.exists())
    # On Windows, and on some filesystems, no number limits the files.
    if hasattr(os, "statvfs") and (disk := os.statvfs(folder)).f_files and not disk.f_favail:
        return f"{str(folder)!r} has no room for another file, however small (see `df -i`)"
    free = shutil.disk_usage(folder).free
    return f"{str(folder)!r} has {free / 1e6:.1f} MB free and {needed / 1e6:.1f} MB are needed"
