"""The code on every page of the documentation, and in the README, runs as written. The rules are in tests/pages.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pages
import pytest
from tree import ROOT, repository

PAGES = [
    path
    for path in repository().files
    if path.suffix == ".md"
    and (path.is_relative_to(ROOT / "docs") or path == ROOT / "README.md")
    and {block.action for block in pages.blocks(path.read_text(encoding="utf-8"))} - {"copy"}
]


def run(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-W", "error", str(Path(pages.__file__)), str(page)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_on_the_page_runs_as_written(page: Path, tmp_path: Path) -> None:
    result = run(page, tmp_path)

    assert result.returncode == 0, result.stdout + result.stderr


PAGE = """# A page

<!-- file: shop/__init__.py -->
```python
price = 3
```

```{literalinclude} counter.py
:language: python
```

```python
import counter, shop
total = shop.price * counter.STEP
```

<!-- not run: it would never end -->
```python
raise SystemExit("run")
```

  ```python
  assert total == {total}
  ```

<!-- run -->
```console
$ cat shop/__init__.py
price = {price}
```

<!-- run in the background -->
```console
$ sleep 60
```

```console
$ false
```
"""


@pytest.mark.parametrize(
    ("total", "price", "complaint"), [(6, 3, ""), (7, 3, "page.md"), (6, 4, "missing: ['price = 4']")]
)
def test_a_page_fails_by_its_code_and_by_its_output(tmp_path: Path, total: int, price: int, complaint: str) -> None:
    (tmp_path / "counter.py").write_text("STEP = 2")
    folder = tmp_path / "work"
    folder.mkdir()
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("{total}", str(total)).replace("{price}", str(price)))

    result = run(page, folder)

    assert (result.returncode == 0) == (not complaint)
    assert complaint in result.stderr
