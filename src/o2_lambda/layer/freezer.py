"""Compiles modules to bytecode for the executable. Run by the CPython that was just built, whose bytecode it is.

    freezer.py OUTPUT < lines of "name<TAB>source path<TAB>package (0 or 1)<TAB>ours (0 or 1)"

Writes `<name>.bin` per module below OUTPUT. CPython's modules are compiled as with -OO. Ours keep their assertions and
line numbers; left out is what nothing reads at run time: docstrings, annotations, blocks for type checkers and the
import of `__future__`.
"""

from __future__ import annotations
import __future__

import ast
import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import TypeVar

    Block = TypeVar("Block", ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Slimmer(ast.NodeTransformer):
    """Removes from a module what has no effect at run time."""

    def visit_Module(self, node: ast.Module) -> ast.Module:  # noqa: D102 - ast's naming, here and below
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:  # noqa: D102
        return self._without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:  # noqa: D102
        node.returns = None
        return self._without_docstring(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:  # noqa: D102
        node.returns = None
        return self._without_docstring(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:  # noqa: D102
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.Assign | None:  # noqa: D102
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], self.visit(node.value)), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:  # noqa: D102
        return None if node.module == "__future__" else node

    def visit_If(self, node: ast.If) -> ast.If | None:  # noqa: D102
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse:
            return None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def _without_docstring(self, node: Block) -> Block:
        if ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        self.generic_visit(node)
        if not node.body and not isinstance(node, ast.Module):
            node.body = [ast.copy_location(ast.Pass(), node)]
        return node


def compiled(name: str, source: str, *, ours: bool) -> CodeType:
    """The code object of a module."""
    if not ours:
        return compile(source, f"<frozen {name}>", "exec", dont_inherit=True, optimize=2)
    tree = ast.fix_missing_locations(Slimmer().visit(ast.parse(source, name)))
    flags = __future__.annotations.compiler_flag
    code: CodeType = compile(tree, f"<frozen {name}>", "exec", flags, dont_inherit=True, optimize=0)
    return code


def main(output: str) -> None:
    """Compiles every module that standard input names."""
    for line in sys.stdin:
        name, path, _package, ours = line.rstrip("\n").split("\t")
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - this interpreter has no pathlib
            code = compiled(name, file.read(), ours=ours == "1")
        with open(f"{output}/{name}.bin", "wb") as target:  # noqa: PTH123 - as above
            target.write(marshal.dumps(code))


if __name__ == "__main__":
    main(sys.argv[1])
