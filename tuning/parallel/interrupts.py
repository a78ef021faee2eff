"""Ctrl-C that nothing swallows."""

import _thread
import contextlib
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raises a KeyboardInterrupt again that Python had to drop.

    One that arrives inside of a destructor or of a weak reference's callback is printed and forgotten
    ("Exception ignored in ..."), and a search would go on to its end.
    """
    hook = sys.unraisablehook
    timers: list[threading.Timer] = []

    def again(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # Not at once: the hook itself would drop it again.
            timers.append(threading.Timer(0.05, _thread.interrupt_main))
            timers[-1].start()
        else:
            hook(dropped)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        pending = [timer for timer in timers if timer.is_alive()]
        for timer in pending:
            timer.cancel()
    if pending:
        raise KeyboardInterrupt
