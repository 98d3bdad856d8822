"""`python -m gen3d` is the `gen3d` command."""

from gen3d.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
