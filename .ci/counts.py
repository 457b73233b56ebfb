"""Add up pytest's reports in a folder: a line for each, then the sum. Fails when no test ran."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path


def counts(report: Path) -> Counter[str]:
    """Return how many tests of one report passed, failed and were skipped."""
    found: Counter[str] = Counter()
    for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314  pytest wrote it a moment ago
        number = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
        failed = number["failures"] + number["errors"]
        found.update(passed=number["tests"] - failed - number["skipped"], failed=failed, skipped=number["skipped"])
    return found


def main(folder: Path) -> int:
    total: Counter[str] = Counter()
    for report in sorted(folder.glob("*.xml")):
        total += (found := counts(report))
        print(f"{report.stem}: {shown(found)}")
    print(shown(total))
    return 0 if total["passed"] else 1


def shown(found: Counter[str]) -> str:
    return f"{found['passed']} passed, {found['failed']} failed, {found['skipped']} skipped"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
