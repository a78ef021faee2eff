"""Take the README's pictures of TensorBoard: a small search on the digits in headless Chromium.

make screenshots        # writes docs/hparams.png, custom_scalars.png, histograms.png, text.png, compare.png
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import keras
from keras_initx.tuning import SearchSpace, load_dataset, search
from PIL import Image

import keras_initx

DOCS = Path(__file__).parent
# The browser helper belongs to the tests, which are no package.
sys.path.insert(0, str(DOCS.parent))

from tests.support import browser  # noqa: E402

INITIALIZERS = ("auto", "glorot_uniform", "random_normal", "small_normal", "zeros")
DEPTH = 8


def build() -> keras.Model:
    """Build a model deep enough for its start to matter."""
    hidden = [keras.layers.Dense(64, activation="tanh", name=f"hidden_{n + 1}") for n in range(DEPTH)]
    flat = [keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Rescaling(1 / 16)]
    model = keras.Sequential([*flat, *hidden, keras.layers.Dense(10, activation="softmax", name="output")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def run() -> Path:
    """Run the search; return the folder of its logs."""
    result = search(
        build,
        load_dataset("digits"),
        tuner="grid",
        space=SearchSpace(initializers=INITIALIZERS, learning_rates=[1e-3, 3e-3]),
        epochs=8,
        seeds=3,
        results="results/digits",
        logs="runs/digits",
    )
    return result.folders.logs


def take(pages: browser.TensorBoardPages, name: str) -> None:
    """Save the window as it is, in 128 colours, which halves the file."""
    picture = Image.open(io.BytesIO(pages.driver.get_screenshot_as_png())).convert("RGB")
    picture.quantize(128).save(DOCS / f"{name}.png", optimize=True)
    print(f"{DOCS / name}.png: look at it")


def compare() -> None:
    """Draw signal by depth of a plain network under four starts."""
    hidden = [keras.layers.Dense(128, "gelu", name=f"hidden_{n + 1}") for n in range(50)]
    last = keras.layers.Dense(10, name="output")
    model = keras.Sequential([keras.Input((32,)), *hidden, last], name="gelu_50_layers")
    starts = ["glorot_uniform", "he_normal", "auto"]
    comparison = keras_initx.compare(model, starts, ["auto"], as_is=False, seed=1)
    comparison.plot().savefig(DOCS / "compare.png", dpi=100)
    print(f"{DOCS / 'compare.png'}: look at it")


def main() -> None:
    """Write the pictures."""
    compare()
    count = len(INITIALIZERS) * 2
    # TensorBoard's pages show the folder's name, so it must not be this checkout.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        logs = run()
        with browser.tensorboard(logs) as address, browser.chromium() as driver:
            pages = browser.TensorBoardPages(driver, address)
            driver.set_window_size(1440, 760)
            pages.rows(count)
            take(pages, "hparams")
            pages.histograms(3)
            take(pages, "histograms")
            driver.set_window_size(1440, 1220)
            pages.charts([count, count])
            pages.enlarge_charts()
            take(pages, "custom_scalars")
            pages.texts(2)
            take(pages, "text")


if __name__ == "__main__":
    main()
