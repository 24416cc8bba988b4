"""No test reads or writes what the person who runs it keeps at home."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _home_of_the_tests(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYMODAL_HOME", str(tmp_path_factory.mktemp("home")))
        yield
