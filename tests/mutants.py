"""Change the engine in one place at a time, and see whether its tests notice: who survives shows what no test holds.

    python -m tests.mutants                                    # `make mutants`: two hours at most
    python -m tests.mutants --only divergence --count 20       # some of one file
    python -m tests.mutants --show 1234                        # a mutant as a diff

A mutant is made in memory, in a process that is forked when torch and all other libraries are loaded and before `preimage` is: so
one costs what its tests cost. (mutmut runs the whole suite before the first mutant, and cosmic-ray loads torch for each.) Mutants
come in an order that --seed draws. Rows: out/mutants.csv. Linux and macOS.
"""

from __future__ import annotations

import argparse
import ast
import copy
import csv
import difflib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "preimage"
OUT = Path("out/mutants.csv")
COLUMNS = ("file", "number", "line", "change", "verdict", "seconds")
# The tests of each file, those that are most likely to notice first.
TESTS = {
    "engine/averages.py": ("engine/test_averages.py", "engine/test_properties.py", "engine/test_fit.py"),
    "engine/checkpoint.py": (
        "engine/test_edited_checkpoint.py",
        "engine/test_properties.py",
        "engine/test_checkpoint.py",
    ),
    "engine/descent.py": ("engine/test_undone.py", "engine/test_fit.py", "engine/test_cuda_graphs.py"),
    "engine/divergence.py": ("engine/test_guard.py", "engine/test_divergence.py"),
    "engine/fit.py": (
        "engine/test_fit.py",
        "engine/test_result.py",
        "engine/test_waiting.py",
        "engine/test_fitted_operators.py",
        "engine/test_cuda_graphs.py",
    ),
    "engine/judge.py": ("engine/test_judge.py", "engine/test_waiting.py"),
    "engine/members.py": ("engine/test_members.py", "engine/test_fit.py", "engine/test_waiting.py"),
    "engine/recipe.py": ("engine/test_recipe.py", "engine/test_averages.py"),
    "engine/replay.py": ("engine/test_replay.py", "engine/test_cuda_graphs.py"),
    "engine/result.py": ("engine/test_result.py",),
    "engine/run.py": ("engine/test_fit.py",),
    "engine/step.py": ("engine/test_step.py",),
    "engine/theta.py": (
        "engine/test_members.py",
        "engine/test_undone.py",
        "engine/test_fit.py",
        "engine/test_initial.py",
        "engine/test_checkpoint.py",
    ),
    "stopping/rule.py": ("stopping/test_properties.py", "stopping/test_rule.py"),
    "stopping/tracker.py": ("stopping/test_properties.py", "stopping/test_rule.py"),
}
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
Place = tuple[int, str]


class Changes(ast.NodeTransformer):
    """Counts the places that can be changed, and changes the one of this number; text for people is none."""

    def __init__(self, number: int = -1) -> None:
        self.number = number
        self.places: list[Place] = []

    def at(self, node: ast.AST, what: str) -> bool:
        """Whether this is the place."""
        self.places.append((getattr(node, "lineno", 0), what))
        return len(self.places) - 1 == self.number

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return node  # annotations

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.value = None if node.value is None else self.visit(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.args.defaults = [self.visit(each) for each in node.args.defaults]
        node.args.kw_defaults = [each and self.visit(each) for each in node.args.kw_defaults]
        node.body = [self.visit(each) for each in node.body]
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        return node if node.arg == "strict" else self.generic_visit(node)  # an assertion: what cannot be is not tested

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if self.at(node, "raise -> pass") else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Constant):
            return node  # a docstring
        if self.at(node, "a call -> pass"):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        if "TYPE_CHECKING" in ast.unparse(node.test):
            return node
        for value in (True, False):
            if self.at(node, f"if -> {value}"):
                node.test = ast.copy_location(ast.Constant(value), node.test)
        return self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        if self.at(node, "a if b else c -> a"):
            return self.generic_visit(node.body)
        if self.at(node, "a if b else c -> c"):
            return self.generic_visit(node.orelse)
        return self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> ast.AST:
        if node.value is not None and self.at(node, "return -> None"):
            node.value = None
            return node
        return self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if self.at(node, "an addition -> pass"):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        for i, sign in enumerate(node.ops):
            other = SWAPS[type(sign)]
            if self.at(node, f"{type(sign).__name__} -> {other.__name__}"):
                node.ops[i] = other()
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        other = SWAPS.get(type(node.op))
        if other and self.at(node, f"{type(node.op).__name__} -> {other.__name__}"):
            node.op = other()
        return self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        other = SWAPS[type(node.op)]
        if self.at(node, f"{type(node.op).__name__} -> {other.__name__}"):
            node.op = other()
        return self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.op, ast.Not | ast.USub) and self.at(node, f"without {type(node.op).__name__}"):
            return self.generic_visit(node.operand)
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value = node.value
        if isinstance(value, bool):
            if self.at(node, f"{value} -> {not value}"):
                node.value = not value
        elif isinstance(value, int | float) and self.at(node, f"{value} -> {value + 1}"):
            node.value = value + 1
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in NAMES and self.at(node, f"{node.id} -> {NAMES[node.id]}"):
            node.id = NAMES[node.id]
        return node


def mutated(file: str, number: int) -> ast.Module:
    tree = ast.parse((SOURCE / file).read_text(encoding="utf-8"))
    return ast.fix_missing_locations(Changes(number).visit(tree))


def places(file: str) -> list[Place]:
    """Line and change of each mutant of a file."""
    changes = Changes()
    changes.visit(ast.parse((SOURCE / file).read_text(encoding="utf-8")))
    return changes.places


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module of the package its mutant."""

    def __init__(self, file: str, tree: ast.Module) -> None:
        self.name = "preimage." + file.removesuffix(".py").replace("/", ".")
        self.path, self.tree = str(SOURCE / file), tree

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self, origin=self.path) if name == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self.path
        exec(compile(copy.deepcopy(self.tree), self.path, "exec"), vars(module))


def notices(file: str, tree: ast.Module | None, tests: Sequence[str], seconds: float) -> str:
    """ "killed", "survived", "time" or "crash": what a forked process makes of the tests of a file; None: as it stands."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
            for descriptor in (1, 2):
                os.dup2(nothing, descriptor)
            if tree is not None:
                sys.meta_path.insert(0, Finder(file, tree))
            import pytest

            loaded = "ignore::pytest.PytestAssertRewriteWarning"  # libraries that were loaded before the fork
            chosen = ["-x", "-q", "-m", "not long", "-W", loaded, "-p", "no:cacheprovider", "-p", "no:xdist"]
            code = int(pytest.main([*chosen, *tests]))
        finally:
            os._exit(code)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return "survived" if code == 0 else "crash" if code < 0 else "killed"
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "time"


def all_mutants(only: str, seed: int) -> list[tuple[str, int]]:
    found = [(file, number) for file in TESTS if re.search(only, file) for number in range(len(places(file)))]
    random.Random(seed).shuffle(found)
    return found


def existing(file: str) -> list[str]:
    return [str(path) for name in TESTS[file] if (path := ROOT / "tests" / name).exists()]


def load_libraries() -> None:
    """All that costs time, and nothing of the package."""
    import hypothesis.extra.numpy
    import matplotlib
    import numpy
    import PIL.Image
    import pytest
    import tifffile
    import torch

    torch.set_num_threads(1)
    del hypothesis, matplotlib, numpy, PIL, pytest, tifffile
    if any(name.split(".")[0] == "preimage" for name in sys.modules):
        raise RuntimeError("the package is loaded before it is changed")


def tried(mutants: Sequence[tuple[str, int]], seconds: float) -> Iterator[dict[str, object]]:
    """A row for each mutant, until the time is up; the tests of each file pass without one, or it is said."""
    until, usual = time.monotonic() + seconds, dict[str, float]()
    for file, number in mutants:
        if time.monotonic() > until:
            return
        if file not in usual:
            begun = time.monotonic()
            if (found := notices(file, None, existing(file), 3600)) != "survived":
                raise RuntimeError(f"the tests of {file} do not pass as it stands: {found}")
            usual[file] = time.monotonic() - begun
        begun = time.monotonic()
        verdict = notices(file, mutated(file, number), existing(file), 60 + 4 * usual[file])
        line, change = places(file)[number]
        took = f"{time.monotonic() - begun:.1f}"
        yield dict(zip(COLUMNS, (file, number, line, change, verdict, took), strict=True))


def shown(file: str, number: int) -> str:
    before = ast.unparse(ast.parse((SOURCE / file).read_text(encoding="utf-8"))).splitlines()
    after = ast.unparse(mutated(file, number)).splitlines()
    return "\n".join(difflib.unified_diff(before, after, file, f"mutant {number}", lineterm="", n=2))


def main() -> int:
    """0, whatever survives: that is for people to judge."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description="Change the engine in one place at a time."
    )
    parser.add_argument("--seconds", type=float, default=7200)
    parser.add_argument("--count", type=int, help="as many mutants at most")
    parser.add_argument("--only", default="", help="files whose name matches this expression")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, help="one mutant of the file that --only names, as a diff")
    parser.add_argument("--rows", type=Path, default=OUT)
    asked = parser.parse_args()
    if asked.show is not None:
        (file,) = (each for each in TESTS if re.search(asked.only, each))
        print(shown(file, asked.show))
        return 0
    os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="agg")
    os.chdir(ROOT)
    load_libraries()
    mutants = all_mutants(asked.only, asked.seed)
    asked.rows.parent.mkdir(parents=True, exist_ok=True)
    counts: Counter[object] = Counter()
    with asked.rows.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in tried(mutants[: asked.count], asked.seconds):
            writer.writerow(row)
            file.flush()
            counts[row["verdict"]] += 1
            if row["verdict"] == "survived":
                print(f"{row['file']}:{row['line']} {row['change']} (--show {row['number']})", flush=True)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items(), key=str))
    print(f"{sum(counts.values())} of {len(mutants)} mutants: {told}; rows in {asked.rows}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
