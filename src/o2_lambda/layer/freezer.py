"""Compiles modules to bytecode for the executable. Run by the CPython that was just built, whose bytecode it is.

    freezer.py OUTPUT < lines of "name<TAB>source path<TAB>package (0 or 1)<TAB>ours (0 or 1)"

Writes `<name>.bin` per module below OUTPUT. Standard library modules are compiled as with -OO. Ours keep their
assertions and line numbers; left out is what nothing reads at run time: docstrings, annotations, blocks for type
checkers and the import of `__future__`.
"""

import __future__

import ast
import marshal
import sys


class Slimmer(ast.NodeTransformer):
    """Removes from a module what has no effect at run time."""

    def visit_Module(self, node):
        return self._without_docstring(node)

    def visit_ClassDef(self, node):
        return self._without_docstring(node)

    def visit_FunctionDef(self, node):
        node.returns = None
        return self._without_docstring(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        if node.value is None:
            return None
        return ast.copy_location(ast.Assign([node.target], self.visit(node.value)), node)

    def visit_ImportFrom(self, node):
        return None if node.module == "__future__" else node

    def visit_If(self, node):
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse:
            return None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def _without_docstring(self, node):
        if ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        self.generic_visit(node)
        if not node.body and not isinstance(node, ast.Module):
            node.body = [ast.copy_location(ast.Pass(), node)]
        return node


def compiled(name, path, ours):
    with open(path, "rb") as file:
        tree = ast.parse(file.read(), path)
    if not ours:
        return compile(tree, f"<frozen {name}>", "exec", dont_inherit=True, optimize=2)
    tree = ast.fix_missing_locations(Slimmer().visit(tree))
    flags = __future__.annotations.compiler_flag
    return compile(tree, f"<frozen {name}>", "exec", flags, dont_inherit=True, optimize=0)


def main(output):
    for line in sys.stdin:
        name, path, _package, ours = line.rstrip("\n").split("\t")
        with open(f"{output}/{name}.bin", "wb") as file:
            file.write(marshal.dumps(compiled(name, path, ours == "1")))


if __name__ == "__main__":
    main(sys.argv[1])
