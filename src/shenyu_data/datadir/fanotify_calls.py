"""The calls to the system that fanotify.py makes, and Python does not have."""

from __future__ import annotations

import ctypes
import os
import struct

_CLOEXEC, _NONBLOCK = 0x1, 0x2
_MARK_ADD, _MARK_FILESYSTEM = 0x1, 0x100
_MOST_HANDLE = 128
_HANDLE = struct.Struct("=Ii")  # length, type; then so many bytes

_libc = ctypes.CDLL(None, use_errno=True)


def open_queue(flags: int) -> int:
    """Open a queue: fanotify_init(2). Raises OSError, or AttributeError if there is no such
    call.
    """
    flags |= _CLOEXEC | _NONBLOCK
    return _check(_libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC))


def mark_file_system(queue: int, mask: int, root: int) -> None:
    """Have what ``mask`` names told of the file system of an open folder: fanotify_mark(2). Raises
    OSError.
    """
    _libc.fanotify_mark.argtypes = [
        *(ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)
    ]
    _check(_libc.fanotify_mark(queue, _MARK_ADD | _MARK_FILESYSTEM, mask, root, b"."))


def handle_of(folder: int) -> bytes:
    """Return the handle of an open folder: name_to_handle_at(2). Raises OSError."""
    _libc.name_to_handle_at.argtypes = [
        *(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p),
        *(ctypes.POINTER(ctypes.c_int), ctypes.c_int),
    ]
    size = _HANDLE.size + _MOST_HANDLE
    handle = ctypes.create_string_buffer(_HANDLE.pack(_MOST_HANDLE, 0), size)
    mount = ctypes.c_int()
    _check(_libc.name_to_handle_at(folder, b".", handle, ctypes.byref(mount), 0))
    return handle.raw[: _HANDLE.size + _HANDLE.unpack_from(handle.raw)[0]]


def open_by_handle(root: int, handle: bytes) -> int:
    """Open the folder of a handle, on the file system of an open one: open_by_handle_at(2). Raises
    OSError.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    return _check(_libc.open_by_handle_at(root, handle, flags))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def close_all(descriptors: list[int]) -> None:
    """Close what came with some events: numbers that follow one another by one call."""
    descriptors.sort()
    first = last = None
    for one in descriptors:
        if last is None or one != last + 1:
            if first is not None and last is not None:
                os.closerange(first, last + 1)
            first = one
        last = one
    if first is not None and last is not None:
        os.closerange(first, last + 1)
