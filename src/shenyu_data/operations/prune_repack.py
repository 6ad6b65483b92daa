"""Repacking: what is needed of mostly dead packs goes into new ones, sealed bytes as they are."""

from __future__ import annotations

from shenyu_data.model.errors import ObjectExists, RepositoryError
from shenyu_data.model.findings import Finding
from shenyu_data.model.monitor import Monitor
from shenyu_data.operations.prune_tasks import PIECE
from shenyu_data.repository.format import ObjectKind, object_name
from shenyu_data.repository.moves import Place, write_moves
from shenyu_data.repository.packs import PACK_BYTES, PackWriter
from shenyu_data.repository.repository import Repository

_PACKED_AT_ONCE = 4 * PACK_BYTES
"""New packs of about this much are made durable before the moves into them are stored."""


def repack(
    repository: Repository, pieces: dict[bytes, bytes], monitor: Monitor
) -> tuple[list[str], int]:
    """Given the live segments of packs (rows of :data:`PIECE`), copy them into new packs and store
    where they went; return the names of the packs that are needed no more, and the bytes written.

    A pack that is shorter than it should be is left as it is: verify names it.
    """
    done: list[str] = []
    written = 0
    writer = PackWriter(repository.storage)
    moves: dict[bytes, dict[int, Place]] = {}
    packed = 0
    try:
        with monitor.task("Repacking", len(pieces), "packs") as progress:
            for pack, rows in pieces.items():
                table = _copy(repository, writer, pack, rows, monitor)
                progress.advance(1)
                if table is None:
                    continue
                moves[pack] = table
                packed += sum(size for _, size in PIECE.iter_unpack(rows))
                if packed >= _PACKED_AT_ONCE:
                    written += _finish(repository, writer, moves, done)
                    writer, moves, packed = PackWriter(repository.storage), {}, 0
            written += _finish(repository, writer, moves, done)
    except BaseException:
        writer.abandon()
        raise
    return done, written


def _copy(
    repository: Repository, writer: PackWriter, pack: bytes, rows: bytes, monitor: Monitor
) -> dict[int, Place] | None:
    name = object_name(ObjectKind.PACK, pack)
    try:
        data = repository.storage.read(name)
    except RepositoryError as error:
        _leave(name, error.message, monitor)
        return None
    segments = sorted(PIECE.iter_unpack(rows))
    if any(offset + size > len(data) for offset, size in segments):
        _leave(name, f"{name} is cut off", monitor)
        return None
    return {offset: writer.add_sealed(data[offset : offset + size]) for offset, size in segments}


def _finish(
    repository: Repository,
    writer: PackWriter,
    moves: dict[bytes, dict[int, Place]],
    done: list[str],
) -> int:
    writer.finish()
    written = writer.stored_bytes
    for pack, table in moves.items():
        try:
            written += write_moves(repository.storage, repository.keys, pack, table)
        except ObjectExists:
            continue  # another prune repacked it: what this one wrote is not needed
        done.append(object_name(ObjectKind.PACK, pack))
    return written


def _leave(name: str, why: str, monitor: Monitor) -> None:
    monitor.report(
        Finding(
            code="object-damaged",
            severity="error",
            path=name,
            message=f"it was not repacked: {why}",
            hint="`shenyu-data verify --read-data` says what it affects.",
        )
    )
