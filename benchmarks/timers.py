"""Time the methods of a running program by wrapping them; no time is counted twice.

A helper of `overhead.py`.
"""

import contextlib
import functools
import time


class Timers:
    """Context manager that adds up the seconds of watched methods, by label.

    If a watched method calls another one, its own time excludes the inner call.
    """

    def __init__(self):
        self.seconds, self._open, self._watched, self._on = {}, [], [], True

    def watch(self, owner, name, label):
        """Add the time of a method, or of a function of a module, to a label."""
        self._watched.append((owner, name, getattr(owner, name), label))

    def take(self):
        """Return the seconds since the last call, by label."""
        taken, self.seconds = self.seconds, {}
        return taken

    @contextlib.contextmanager
    def off(self):
        """Stop counting within this block."""
        self._on = False
        try:
            yield
        finally:
            self._on = True

    def __enter__(self):
        for owner, name, method, label in self._watched:
            setattr(owner, name, self._counted(method, label))
        return self

    def __exit__(self, *exc_info):
        for owner, name, method, _ in self._watched:
            setattr(owner, name, method)

    def _counted(self, method, label):
        @functools.wraps(method)
        def counted(*args, **kwargs):
            if not self._on:
                return method(*args, **kwargs)
            self._open.append(0.0)
            started = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                spent = time.perf_counter() - started
                within = self._open.pop()
                self.seconds[label] = self.seconds.get(label, 0.0) + spent - within
                if self._open:
                    self._open[-1] += spent

        return counted
