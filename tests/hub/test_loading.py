"""transformers is loaded from whichever thread comes first."""

import subprocess
import sys

THREADS = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from polymodal.models.hub_loading import transformers

ready = Barrier(4)

def load(number):
    ready.wait()
    return transformers("it").AutoProcessor

with ThreadPoolExecutor(4) as pool:
    assert len(set(pool.map(load, range(4)))) == 1
"""


def test_threads_that_load_at_once_all_get_the_library():
    ran = subprocess.run(
        [sys.executable, "-c", THREADS], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
