"""Run the command line: `python -m avvp` is `avvp`."""

from avvp.pipeline.cli.main import main

if __name__ == "__main__":
    main()
