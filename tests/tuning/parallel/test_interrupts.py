"""An interrupt that Python drops is raised again."""

import signal
import sys
import time
import weakref

import pytest
from keras_initx.tuning.parallel.interrupts import interruptible

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


class Thing:
    pass


def interrupt_in_a_callback():
    """Interrupt at a moment at which Python can only print the exception, and continue to work."""
    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    assert reference() is None
    for _ in range(100):
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def default_handler():
    """Listen to Ctrl-C, which a shell disables for tests that it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_callback_is_raised_again():
    with pytest.raises(KeyboardInterrupt), interruptible():
        interrupt_in_a_callback()


def test_other_errors_reach_the_original_hook(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: seen.append(dropped.exc_type))
    original = sys.unraisablehook
    with interruptible():
        thing = Thing()
        reference = weakref.ref(thing, lambda _: 1 / 0)
        del thing
    assert reference() is None
    assert seen == [ZeroDivisionError]
    assert sys.unraisablehook is original
