"""Segments made small: zstd with a dictionary that ships with the program.

For what writes and reads packs. docs/design/compression.md has the measurements behind every
number here.
"""

from __future__ import annotations

import functools
import os

import zstandard

from shenyu_data.model.errors import ObjectDamaged

DICTIONARY_ID = "dictionary-1"
"""The dictionary's name, for the repository's format; it is also the name of its file."""

DICTIONARY_BLAKE3 = "86eae5a72a4b5acfa3a311befc62ba229a4306d7b38ab37eb7509cdc69f7f6c1"
"""What the dictionary must hash to. Without these exact bytes no segment can be read: a better
dictionary is a new file under a new name, and this one stays."""

# Above this size a frame is its own best dictionary, and the small tables below are too small.
_SMALL = 112 << 10

# At 2^14 entries the table fits the processor's nearest cache beside the text; copying a larger one
# for every frame costs more time than the matches it would find save bytes.
_SMALL_PARAMETERS = {
    "strategy": zstandard.STRATEGY_FAST,
    "window_log": 17,
    "hash_log": 14,
    "chain_log": 10,
    "search_log": 1,
    "min_match": 5,
    "target_length": 0,
}
_LARGE_LEVEL = 3

# The whole frame and room for all it holds are always at hand, so zstd needs no window of its own;
# only a frame that is cut off would ask for one, and is refused.
_WINDOW_LIMIT = 1 << 17


@functools.cache
def load_dictionary() -> bytes:
    """Return the dictionary's bytes: read once per process, 50 KB, under a millisecond."""
    path = os.path.join(os.path.dirname(__file__), f"{DICTIONARY_ID}.txt")
    with open(path, "rb") as file:
        return file.read()


class Compressor:
    """Turn segments into zstd frames. Use one per thread; cheap to make."""

    def __init__(self) -> None:
        parameters = _frame_parameters(**_SMALL_PARAMETERS)
        self._compress_small = zstandard.ZstdCompressor(
            dict_data=_digested(), compression_params=parameters
        ).compress
        self._compress_large = zstandard.ZstdCompressor(
            compression_params=_frame_parameters(compression_level=_LARGE_LEVEL)
        ).compress

    def compress(self, data: bytes) -> bytes:
        """Given a segment, return its frame, which is empty if the segment is."""
        if not data:
            return b""
        return self._compress_small(data) if len(data) <= _SMALL else self._compress_large(data)


class Decompressor:
    """Turn frames back into segments. Use one per thread; cheap to make."""

    def __init__(self) -> None:
        self._decompress = zstandard.ZstdDecompressor(
            dict_data=_undigested(), max_window_size=_WINDOW_LIMIT
        ).decompress

    def decompress(self, data: bytes, size: int) -> bytes:
        """Given a frame and the size of its segment, return the segment, not a byte more or less.

        Raise ObjectDamaged for anything but one whole frame of exactly that size. Nothing is
        unpacked, and no room set aside, for a frame that promises another.
        """
        if not size and not data:
            return b""
        try:
            promised = zstandard.frame_content_size(data)
            if promised == size > 0:
                segment = self._decompress(data, max_output_size=size, allow_extra_data=False)
                if len(segment) == size:
                    return segment
        except zstandard.ZstdError as error:
            raise ObjectDamaged(f"a compressed segment cannot be unpacked: {error}") from error
        raise ObjectDamaged(f"a compressed segment does not hold the {size} bytes that it should")


def _frame_parameters(**parameters: int) -> zstandard.ZstdCompressionParameters:
    # No checksum: the seal around every frame says more. The size is kept: it costs one byte more
    # than the window it replaces, and lets zstd unpack straight into the result.
    return zstandard.ZstdCompressionParameters(
        write_content_size=True, write_checksum=False, write_dict_id=False, **parameters
    )


@functools.cache
def _digested() -> zstandard.ZstdCompressionDict:
    dictionary = _undigested()
    dictionary.precompute_compress(compression_params=_frame_parameters(**_SMALL_PARAMETERS))
    return dictionary


@functools.cache
def _undigested() -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(
        load_dictionary(), dict_type=zstandard.DICT_TYPE_RAWCONTENT
    )
