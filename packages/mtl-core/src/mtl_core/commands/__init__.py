"""The command line that every method package has: `NAME demo`, `fit`, `report`, `measure`, `export`.

A package's `__main__.py` is ten lines:

    from mtl_core.commands import command_line
    from mymethod.fit import Config, fit
    from mymethod.plots import sparsity

    main = command_line("mymethod", Config, fit, plots=(sparsity,))

    if __name__ == "__main__":
        raise SystemExit(main())

Options come from `Config` and its docstring; its fields that are functions are not on the command line.
"""

from mtl_core.commands.kit import command_line

__all__ = ["command_line"]
