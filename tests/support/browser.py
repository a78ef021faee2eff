"""TensorBoard in headless Chromium, for the test of its pages and for the pictures of the README."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, CHROMEDRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
MISSING = [str(path) for path in (CHROMIUM, CHROMEDRIVER) if not path.exists()]
SECONDS = 10
# How often a page is opened anew: it asks once for what the server may still be reading.
TRIES = 4

# TensorBoard's pages are components within components, each with a document of its own.
_DEEP = """
const found = [], selector = arguments[0];
const walk = root => root.querySelectorAll('*').forEach(element => {
  if (element.matches(selector)) found.push(element);
  if (element.shadowRoot) walk(element.shadowRoot);
});
walk(document);
"""
# The grid shows its rows through slots: a row's own text is empty. Rows that are out of sight do not exist.
_ROWS = """
return [...found[0].shadowRoot.querySelectorAll('thead tr, tbody tr')]
  .filter(row => row.offsetHeight)
  .map(row => [...row.querySelectorAll('th, td')]
    .map(cell => cell.querySelector('slot').assignedNodes().map(node => node.innerText.trim()).join('')));
"""
_LINES = """
return found.map(chart => [...chart.shadowRoot.querySelectorAll('path.line')]
  .filter(path => path.getAttribute('d')).length);
"""
_TICKS = """
return found.map(chart => [...chart.shadowRoot.querySelectorAll('.tick-label')]
  .map(tick => tick.textContent));
"""
_OUTLINES = """
return found.filter(chart => chart.shadowRoot.querySelector('path.outline')?.getAttribute('d')).length;
"""
_TEXTS = "return found.map(view => view.shadowRoot.querySelector('#markdown')?.innerText || '');"
_IMAGES = "return found.filter(image => image.complete).map(image => image.naturalWidth);"

Found = TypeVar("Found")


@contextmanager
def tensorboard(logs: Path) -> Iterator[str]:
    """TensorBoard on a folder, as `tensorboard --logdir` starts it; its address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", "0"]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            said = []
            for line in server.stderr:
                said.append(line)
                if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
                    yield address.group()
                    break
            else:
                raise RuntimeError(f"TensorBoard ended: {''.join(said)}")
        finally:
            server.terminate()


@contextmanager
def chromium(size: tuple[int, int] = (1400, 1000)) -> Iterator[webdriver.Chrome]:
    """Headless Chromium with a window of that size, without a network."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "headless=new",
        "disable-gpu",
        "disable-dev-shm-usage",
        f"window-size={size[0]},{size[1]}",
    ):
        options.add_argument(f"--{argument}")
    if os.getuid() == 0:
        options.add_argument("--no-sandbox")
    driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


class Board:
    """The pages of a TensorBoard, each read once what it is to show has come.

    Args:
        driver: The browser.
        address: Where TensorBoard is.
    """

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver, self._address = driver, address

    def rows(self, count: int) -> list[dict[str, str]]:
        """The table of HParams: `count` rows, by the columns' titles."""
        table = self._opened("hparams", "vaadin-grid", _ROWS, lambda rows: len(rows) > count)
        return [dict(zip(table[0], row, strict=False)) for row in table[1:]]

    def charts(self, lines: Sequence[int]) -> list[int]:
        """How many lines each chart of Custom Scalars draws, once there are as many as that."""
        page = "custom_scalars&_smoothingWeight=0"
        return self._opened(page, "vz-line-chart2", _LINES, lambda found: found == list(lines))

    def enlarge_charts(self) -> None:
        """Makes the charts of Custom Scalars as large as the page, on a logarithmic axis."""
        for selector in ("paper-icon-button[icon='fullscreen']", "paper-icon-button[icon='line-weight']"):
            self.driver.execute_script(f"{_DEEP} found.forEach(button => button.click());", selector)
        WebDriverWait(self.driver, SECONDS, 0.1).until(
            lambda driver: all(
                any(re.fullmatch(r"1e-\d+", tick) for tick in ticks)
                for ticks in driver.execute_script(_DEEP + _TICKS, "vz-line-chart2")
            )
        )

    def histograms(self, count: int) -> int:
        """How many histograms are drawn on the first page of each group, once there are so many."""
        return self._opened("histograms", "vz-histogram-timeseries", _OUTLINES, lambda found: found >= count)

    def texts(self, count: int) -> list[str]:
        """The pages of Text, as they are drawn."""
        return self._opened("text", "tf-markdown-view", _TEXTS, lambda found: sum(map(bool, found)) >= count)

    def images(self, count: int) -> list[int]:
        """The widths of the pictures that are loaded."""
        return self._opened("images", "img", _IMAGES, lambda found: sum(map(bool, found)) >= count)

    def _opened(self, page: str, selector: str, script: str, is_there: Callable[[Any], bool]) -> Any:
        seen = []

        def look(driver: webdriver.Chrome) -> Any:
            seen.append(driver.execute_script(_DEEP + script, selector))
            return seen[-1] if is_there(seen[-1]) else None

        for _ in range(TRIES):
            # Another fragment of the same address would not be a new page.
            self.driver.get("about:blank")
            self.driver.get(f"{self._address}#{page}")
            try:
                return WebDriverWait(
                    self.driver, SECONDS, 0.1, ignored_exceptions=[JavascriptException]
                ).until(look)
            except TimeoutException:
                continue
        raise AssertionError(f"#{page} shows {seen[-1:]}")
