"""Takes a snapshot dated in the past: `python -m benchmarks.past DATA REPOSITORY TIME_MS`.

restic and Borg have a flag for that; shenyu-data's snapshots tell the truth about when they were
taken, save those that archives of that age become. So this one says that it was one.
"""

import os
import sys

from shenyu_data.model.monitor import SilentMonitor
from shenyu_data.operations.backup import Adoption, BackupOptions, backup
from shenyu_data.repository.format import Adopted
from shenyu_data.repository.repository import open_repository
from shenyu_data.storage.open import open_storage


def main(data: str, location: str, time_ms: int) -> None:
    """Back up `data` as if it had been at that time; the passphrase is in the environment."""
    repository = open_repository(open_storage(location), os.environ["SHENYU_DATA_PASSPHRASE"])
    newest = max(repository.snapshots(), key=lambda item: item.sequence, default=None)
    adoption = Adoption(
        archive=Adopted(name="a day of the benchmark", blake3=bytes(32)),
        time_ms=time_ms,
        sequence=newest.sequence + 1 if newest else 1,
        parent=newest.id if newest else None,
    )
    options = BackupOptions(adoption=adoption, jobs=os.cpu_count() or 1)
    backup(data, repository, options, SilentMonitor())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
