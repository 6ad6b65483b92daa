"""What tests of shenyu-data, and of storages written elsewhere, build on.

The program never imports it.
"""

import pytest

# Before any of them is imported: a failing check then shows what it compared.
pytest.register_assert_rewrite(
    "shenyu_data.testing.scenario",
    "shenyu_data.testing.storage_suite",
)
