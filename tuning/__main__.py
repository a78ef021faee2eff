"""Make `python -m keras_initx.tuning` the same as `keras-initx tune`."""

import sys

from keras_initx.cli import main

main(["tune", *sys.argv[1:]])
