"""`import_barred.py '["torch", ...]' MODULE...`: imports the modules, of which the barred ones are out of reach.

Prints the files of ours that were loaded, as JSON. With `--run MODULE ARGUMENT...` it runs one module instead.
"""

import importlib
import json
import runpy
import sys
from importlib.machinery import ModuleSpec


class Barrier:
    """Finds nothing, and forbids what an image does not have."""

    def __init__(self, names: list[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
        return None


if __name__ == "__main__":
    sys.meta_path.insert(0, Barrier(json.loads(sys.argv[1])))  # type: ignore[arg-type]
    if sys.argv[2] == "--run":
        sys.argv = sys.argv[3:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        sys.exit(0)
    for module in sys.argv[2:]:
        importlib.import_module(module)
    loaded = [
        (name, module) for name, module in sys.modules.items() if name.partition(".")[0] in ("services", "likeness")
    ]
    print(json.dumps([module.__file__ for _, module in loaded if getattr(module, "__file__", None)]))
