"""The program `celeriac`."""

import sys

from celeriac.cli.early import patch

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit."""
    patch(sys.argv[1:])
    from celeriac.cli.main import celeriac  # noqa: PLC0415  nothing may be imported before the patch

    celeriac.main(prog_name="celeriac")


if __name__ == "__main__":
    main()
