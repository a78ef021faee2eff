"""End a worker process when the process that started it is gone, even after kill -9."""

import os
import signal
import threading
import time

# Set in the environment of a worker, whose standard input then ends with its parent.
HAS_PARENT_VARIABLE = "KERAS_INITX_WORKER"
# Seconds that a search may take to release its trial before the process ends in any case.
GRACE_SECONDS = 5.0

_watching = threading.Lock()


def end_with_parent() -> None:
    """Interrupt this process as soon as the `Workers` that started it are gone; do nothing elsewhere.

    The parent holds the other end of the standard input and writes nothing, so a read returns when the parent
    has ended, however it did.
    """
    if os.environ.get(HAS_PARENT_VARIABLE) and _watching.acquire(blocking=False):
        threading.Thread(target=_watch, name="keras-initx parent", daemon=True).start()


def _watch() -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        # The program has closed its standard input, and can no longer tell.
        return
    # A signal also interrupts a thread that waits.
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
