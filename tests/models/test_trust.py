"""Which checkpoints a command opened, when several look at once."""

from polymodal.models.trust import Trust, watched


def test_two_that_watch_at_once_part_in_any_order():
    first, second = watched(), watched()
    early, late = first.__enter__(), second.__enter__()
    first.__exit__(None, None, None)
    Trust().runs_code_of("org/model")
    second.__exit__(None, None, None)
    assert (early, late) == ([], ["org/model"])
