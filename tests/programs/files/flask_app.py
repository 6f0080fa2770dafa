"""An application for gunicorn's own workers."""

import time
from pathlib import Path

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return "hello"


@app.get("/slow")
def slow():
    # What a graceful stop has to wait for. The client waits for the file.
    Path("at-work").touch()
    time.sleep(60)
    return "at last"
