"""An app that adds the step to its workers."""

from ready_file import ReadyFile

from celeriac import Celeriac

app = Celeriac("shop")
app.steps["worker"].add(ReadyFile)


@app.task
def add(x: int, y: int) -> int:
    return x + y
