"""TensorBoard in headless Chromium, for tests of its pages and for the screenshots of the README."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, CHROMEDRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
MISSING = [str(path) for path in (CHROMIUM, CHROMEDRIVER) if not path.exists()]
SECONDS = 10
# How often a page is opened: it asks the server once, which may still be reading files.
TRIES = 4

# TensorBoard's pages are nested web components, each with its own shadow document.
_DEEP = """
const found = [], selector = arguments[0];
const walk = root => root.querySelectorAll('*').forEach(element => {
  if (element.matches(selector)) found.push(element);
  if (element.shadowRoot) walk(element.shadowRoot);
});
walk(document);
"""
# The grid displays its rows through slots, so a row itself has no text. Rows out of sight do not exist.
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


@contextmanager
def tensorboard(logs: Path) -> Iterator[str]:
    """Start TensorBoard on a folder as `tensorboard --logdir` does; yield its address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", "0"]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            lines = []
            for line in server.stderr:
                lines.append(line)
                if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
                    yield address.group()
                    break
            else:
                raise RuntimeError(f"TensorBoard ended: {''.join(lines)}")
        finally:
            server.terminate()


@contextmanager
def chromium(size: tuple[int, int] = (1400, 1000)) -> Iterator[webdriver.Chrome]:
    """Start headless Chromium with a window of that size; yield its driver."""
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


class TensorBoardPages:
    """The pages of a TensorBoard; each method waits until its page shows the expected content.

    Args:
        driver: The browser.
        address: The address of TensorBoard.
    """

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver, self._address = driver, address

    def rows(self, count: int) -> list[dict[str, str]]:
        """Return the `count` rows of the HParams table, by the titles of the columns."""
        table = self._opened("hparams", "vaadin-grid", _ROWS, lambda rows: len(rows) > count)
        return [dict(zip(table[0], row, strict=False)) for row in table[1:]]

    def charts(self, lines: Sequence[int]) -> list[int]:
        """Return the number of lines in each chart of Custom Scalars, once it equals `lines`."""
        page = "custom_scalars&_smoothingWeight=0"
        return self._opened(page, "vz-line-chart2", _LINES, lambda counts: counts == list(lines))

    def enlarge_charts(self) -> None:
        """Enlarge the charts of Custom Scalars to the whole page, with a logarithmic axis."""
        for selector in ("paper-icon-button[icon='fullscreen']", "paper-icon-button[icon='line-weight']"):
            self.driver.execute_script(f"{_DEEP} found.forEach(button => button.click());", selector)
        WebDriverWait(self.driver, SECONDS, 0.1).until(
            lambda driver: all(
                any(re.fullmatch(r"1e-\d+", tick) for tick in ticks)
                for ticks in driver.execute_script(_DEEP + _TICKS, "vz-line-chart2")
            )
        )

    def histograms(self, count: int) -> int:
        """Return the number of histograms on the first page of each group, once it reaches `count`."""
        return self._opened("histograms", "vz-histogram-timeseries", _OUTLINES, lambda drawn: drawn >= count)

    def texts(self, count: int) -> list[str]:
        """Return the rendered pages of Text, once there are `count`."""
        return self._opened("text", "tf-markdown-view", _TEXTS, lambda items: sum(map(bool, items)) >= count)

    def images(self, count: int) -> list[int]:
        """Return the widths of the loaded images, once there are `count`."""
        return self._opened("images", "img", _IMAGES, lambda items: sum(map(bool, items)) >= count)

    def _opened(self, page: str, selector: str, script: str, is_there: Callable[[Any], bool]) -> Any:
        seen = []

        def look(driver: webdriver.Chrome) -> Any:
            seen.append(driver.execute_script(_DEEP + script, selector))
            return seen[-1] if is_there(seen[-1]) else None

        for _ in range(TRIES):
            # A different fragment of the same address would not reload the page.
            self.driver.get("about:blank")
            self.driver.get(f"{self._address}#{page}")
            try:
                return WebDriverWait(
                    self.driver, SECONDS, 0.1, ignored_exceptions=[JavascriptException]
                ).until(look)
            except TimeoutException:
                continue
        raise AssertionError(f"#{page} shows {seen[-1:]}")
