import signal
import sys
import time
import weakref

import pytest
from keras_initx.tuning.parallel.interrupts import interruptible

pytestmark = pytest.mark.one_backend


class Thing:
    pass


def interrupt_in_a_callback():
    """Ctrl-C at a moment at which Python can only print it, and work that goes on."""
    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    assert reference() is None
    for _ in range(100):
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def heard():
    """A shell that starts the tests in the background makes them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_callback_is_raised_again():
    with pytest.raises(KeyboardInterrupt), interruptible():
        interrupt_in_a_callback()


def test_other_errors_go_where_they_went(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: seen.append(dropped.exc_type))
    mine = sys.unraisablehook
    with interruptible():
        thing = Thing()
        reference = weakref.ref(thing, lambda _: 1 / 0)
        del thing
    assert reference() is None
    assert seen == [ZeroDivisionError]
    assert sys.unraisablehook is mine
