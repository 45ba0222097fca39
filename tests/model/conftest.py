"""So that the comparisons in worlds.py show what differs, as those in tests do."""

import pytest

pytest.register_assert_rewrite("worlds")
