"""Make sure that Ctrl-C ends a search."""

import _thread
import contextlib
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise a KeyboardInterrupt again if Python dropped it within the block.

    An interrupt that arrives in a destructor or in the callback of a weak reference is printed and dropped
    ("Exception ignored in ..."), and the search would continue.
    """
    hook = sys.unraisablehook
    timers: list[threading.Timer] = []

    def raise_again(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # Delayed, because an exception within the hook would be dropped, too.
            timers.append(threading.Timer(0.05, _thread.interrupt_main))
            timers[-1].start()
        else:
            hook(dropped)

    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        pending = [timer for timer in timers if timer.is_alive()]
        for timer in pending:
            timer.cancel()
    if pending:
        raise KeyboardInterrupt
