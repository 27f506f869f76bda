try:
    import mini_models  # here already: the book's own environment
except ImportError:  # alone, as on Colab: fetch the package first
    import subprocess
    import sys

    SOURCE = ""  # filled in when the book is published
    if not SOURCE:
        raise SystemExit("Install mini_models first: pip install .")
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    subprocess.check_call([*pip, SOURCE])

from mini_models.machine.devices import best_device

device = best_device()  # a GPU where there is one
