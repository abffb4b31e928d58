"""Entry point of the command `likeness`."""

from likeness._cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
