"""Reads the argument parser of `vllm serve` from the source of a release, without running it: see arguments.py."""

import ast
import pathlib
import re
import sys
import tarfile
import zipfile

# Modules that have held the parser, newest first.
ENTRY = [
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.openai.cli_args",
]
# Names that are registered, not declared as a type: the argument, and the dictionaries or decorators that name them.
REGISTERED = {
    "--tool-call-parser": (
        "_TOOL_PARSERS_TO_REGISTER",
        ["vllm.tool_parsers", "vllm.entrypoints.openai.tool_parsers"],
    ),
    "--reasoning-parser": ("_REASONING_PARSERS_TO_REGISTER", ["vllm.reasoning"]),
    "--quantization": ("QuantizationMethods", ["vllm.model_executor.layers.quantization"]),
    "--load-format": ("LoadFormats", ["vllm.model_executor.model_loader"]),
}
BUILTIN = {"bool", "str", "int", "float"}
COLLECTION = {"list", "List", "set", "Set", "tuple", "Tuple", "Sequence"}


class Release:
    """The modules of one release."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        found = re.search(r"(\d+)\.(\d+)\.\d+", self.path.name)
        if not found:
            sys.exit(f"{path}: the name must hold the version, as in vllm-0.32.0.tar.gz")
        self.version = (int(found[1]), int(found[2]))
        self.trees = {}
        if self.path.is_dir():
            self.texts = lambda name: (self.path / name).read_text() if (self.path / name).is_file() else None
        elif zipfile.is_zipfile(self.path):
            archive = zipfile.ZipFile(self.path)
            names = set(archive.namelist())
            self.texts = lambda name: archive.read(name).decode() if name in names else None
        else:
            with tarfile.open(self.path) as archive:
                files = {
                    member.name.split("/", 1)[-1]: archive.extractfile(member).read().decode()
                    for member in archive
                    if member.isfile() and re.match(r"[^/]+/vllm/.*\.py$", member.name)
                }
            self.texts = files.get

    def tree(self, module):
        if module not in self.trees:
            path = module.replace(".", "/")
            text = self.texts(f"{path}.py")
            if text is None:
                text = self.texts(f"{path}/__init__.py")
                package = True
            else:
                package = False
            self.trees[module] = None if text is None else (ast.parse(text), package, text)
        return self.trees[module]

    def find(self, module, name, seen=()):
        """The definition of a name as it is seen in a module: (module, node), or None."""
        if (module, name) in seen or not (entry := self.tree(module)):
            return None
        tree, package, _ = entry
        imports = []
        for node in statements(tree.body):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
                return module, node
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                if not (isinstance(node.value, ast.Name) and node.value.id in {"Any", "str"}):
                    return module, node.value
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
                return module, node.value
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if alias.name == "*":
                        imports.append((node, name))
                    elif (alias.asname or alias.name) == name:
                        imports.append((node, alias.name))
        for node, original in imports:
            source = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + (1 if package else 0)]
                source = ".".join([*parts, source] if source else parts)
            if found := self.find(source, original, (*seen, (module, name))):
                return found
            if self.tree(f"{source}.{original}"):
                return f"{source}.{original}", None
        return None


def statements(body):
    """The statements of a module, those under `if` and `try` too."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from statements(node.body)
            yield from statements(node.orelse)
        elif isinstance(node, ast.Try):
            yield from statements(node.body)


class Reader:
    """Follows the functions that fill the parser."""

    def __init__(self, release):
        self.release = release
        self.arguments = []  # (names, how)
        text = (release.tree("vllm.engine.arg_utils") or (None, None, ""))[2]
        self.bool_or_text_is_maybe = "{bool, str, type(None)}" in text
        self.human = self.human_numbers()
        # From 0.33 on, a switch --enable-x can also be turned off with --disable-x, and the other way round.
        parser = (release.tree("vllm.utils.argparse_utils") or (None, None, ""))[2]
        self.switches_have_inverse = "class EnableDisableAction" in parser
        # Arguments whose allowed values differ from platform to platform: they are not checked.
        self.platform = set()

    def read(self):
        for module in ENTRY:
            if found := self.release.find(module, "make_arg_parser"):
                self.function(*found, {})
                self.arguments.append((["-h", "--help"], {"action": "help"}))
                return {name: entry for names, how in self.arguments for name, entry in entries(names, how)}
        sys.exit(f"{self.release.path}: found no make_arg_parser in {ENTRY}")

    def human_numbers(self):
        """The fields whose number may be written as 8k: they are named where types are turned into arguments."""
        out = set()
        for name in ("_compute_kwargs", "get_kwargs"):
            found = self.release.find("vllm.engine.arg_utils", name)
            for node in ast.walk(found[1]) if found else ():
                if isinstance(node, (ast.Set, ast.Tuple, ast.Compare)):
                    out |= {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
        return out

    # Types.

    def atoms(self, module, node):
        """The alternatives that a type allows."""
        if node is None or (isinstance(node, ast.Constant) and node.value is None):
            return {("none",)}
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.atoms(module, ast.parse(node.value, mode="eval").body)
        if isinstance(node, ast.BinOp):
            return self.atoms(module, node.left) | self.atoms(module, node.right)
        if isinstance(node, ast.Subscript):
            return self.generic(module, node)
        if isinstance(node, ast.Name):
            if node.id in BUILTIN:
                return {(node.id,)}
            if node.id in {"dict", "Dict"}:
                return {("dict",)}
            if node.id in COLLECTION:
                return {("list", frozenset())}
            found = self.release.find(module, node.id)
            if not found or found[1] is None:
                return {("other",)}
            where, what = found
            if isinstance(what, ast.ClassDef):
                marks = {ast.unparse(d).split("(")[0].split(".")[-1] for d in what.decorator_list}
                if marks & {"config", "dataclass"}:
                    return {("dataclass",)}
                return {("dict",)} if any(ast.unparse(b).startswith("dict") for b in what.bases) else {("other",)}
            return self.atoms(where, what)
        return {("other",)}

    def generic(self, module, node):
        name = ast.unparse(node.value).split(".")[-1]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name == "Literal":
            return {("literal", tuple(self.literals(module, inner)))}
        if name in {"Annotated", "SkipValidation"}:
            return self.atoms(module, inner[0])
        if name == "Optional":
            return self.atoms(module, inner[0]) | {("none",)}
        if name == "Union":
            return set().union(*(self.atoms(module, one) for one in inner))
        if name in COLLECTION:
            return {("list", frozenset(self.atoms(module, inner[0])))}
        if name in {"dict", "Dict"}:
            return {("dict",)}
        return {("other",)}

    def literals(self, module, nodes):
        for node in nodes:
            if isinstance(node, ast.Constant):
                yield str(node.value)
            elif isinstance(node, ast.UnaryOp):
                yield ast.unparse(node)
            else:
                for atom in sorted(self.atoms(module, node)):
                    if atom[0] == "literal":
                        yield from atom[1]

    def fields(self, module, node):
        """The fields of a class with their types, those of its bases first."""
        out = {}
        for base in node.bases:
            if found := self.release.find(module, ast.unparse(base)):
                if isinstance(found[1], ast.ClassDef):
                    out |= self.fields(*found)
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                kind = ast.unparse(item.annotation)
                if not kind.startswith(("ClassVar", "InitVar")):
                    out[item.target.id] = self.how(item.target.id, self.atoms(module, item.annotation))
        return out

    def how(self, name, atoms):
        """What `get_kwargs` makes of a type, in the order in which it tries."""
        kinds = {atom[0] for atom in atoms}
        literal = next((atom for atom in atoms if atom[0] == "literal"), None)
        members = next((atom[1] for atom in atoms if atom[0] == "list"), None)
        if "dataclass" in kinds:
            return {"type": "json"}
        if kinds == {"bool", "str", "none"} and self.bool_or_text_is_maybe:
            return {"nargs": "?"}
        if "bool" in kinds:
            return {"action": "BooleanOptionalAction"}
        out = {}
        if literal:
            if "str" not in kinds:
                out["choices"] = list(literal[1])
        elif members is not None:
            out["nargs"] = "+"
            if inner := next((atom for atom in members if atom[0] == "literal"), None):
                out["choices"] = list(inner[1])
        elif "int" in kinds:
            out["type"] = "text" if name in self.human else "int"
        elif "float" in kinds:
            out["type"] = "float"
        elif "dict" in kinds:
            out["type"] = "json"
        if "none" in kinds and "choices" in out:
            out["choices"].append("None")
        return out

    # The functions that fill the parser.

    def function(self, module, node, env):
        for item in node.body:
            self.statement(module, item, env)

    def statement(self, module, node, env):
        if isinstance(node, ast.If):
            for item in [*node.body, *node.orelse]:
                self.statement(module, item, env)
        elif isinstance(node, ast.Assign):
            self.assign(module, node.targets[0], node.value, env)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript):
            # Values that are computed are not known from here: they are left unchecked.
            owner = self.value(module, node.target.value, env)
            if isinstance(owner, dict):
                owner.pop(node.target.slice.value, None)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                owner = self.value(module, target.value, env)
                if isinstance(owner, dict):
                    owner.pop(target.slice.value, None)
        elif isinstance(node, ast.For):
            self.each(module, node, env)
        elif isinstance(node, (ast.Expr, ast.Return)) and node.value is not None:
            self.value(module, node.value, env)

    def assign(self, module, target, source, env):
        value = self.value(module, source, env)
        if isinstance(target, ast.Name):
            if not (value is None and isinstance(env.get(target.id), dict)):
                env[target.id] = value
        elif isinstance(target, ast.Subscript):
            owner = self.value(module, target.value, env)
            if isinstance(owner, dict) and isinstance(target.slice, ast.Constant):
                owner[target.slice.value] = self.keyword(module, target.slice.value, source, env)

    def each(self, module, node, env):
        """`for key, value in kwargs.items(): group.add_argument(...)`: every field is an argument."""
        over = node.iter
        if isinstance(over, ast.Call) and isinstance(over.func, ast.Attribute) and over.func.attr == "items":
            fields = self.value(module, over.func.value, env)
            if isinstance(fields, dict):
                for name, how in fields.items():
                    flag = "--" + name.replace("_", "-")
                    self.arguments.append(([*how.get("flags", []), flag], how))

    def value(self, module, node, env):
        """What an expression is worth, where that matters here; otherwise None."""
        if isinstance(node, ast.Name):
            return env.get(node.id)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            owner = self.value(module, node.value, env)
            return owner.get(node.slice.value) if isinstance(owner, dict) else None
        if isinstance(node, ast.Dict):
            out = {}
            for key, one in zip(node.keys, node.values):
                if key is None:
                    out |= self.value(module, one, env) or {}
                else:
                    out[key.value] = self.keyword(module, key.value, one, env)
            return out
        if isinstance(node, ast.Call):
            return self.call(module, node, env)
        return None

    def call(self, module, node, env):
        name = ast.unparse(node.func)
        last = name.split(".")[-1]
        if last == "get_kwargs":
            owner = env.get("cls") if ast.unparse(node.args[0]) == "cls" else None
            owner = owner or self.release.find(module, ast.unparse(node.args[0]))
            if owner is None:
                sys.exit(f"{self.release.path}: cannot find the class in {ast.unparse(node)}")
            return self.fields(*owner)
        if last == "add_argument":
            self.argument(module, node, env)
        elif last == "update" and isinstance(owner := self.value(module, node.func.value, env), dict):
            owner.update(self.value(module, node.args[0], env) or {})
        elif last == "remove" and isinstance(owner := self.value(module, node.func.value, env), list):
            found = self.release.find(module, ast.unparse(node.args[0]))
            owner.remove(ast.literal_eval(found[1] if found else node.args[0]))
        elif last in {"add_cli_args", "_customize_cli_kwargs", "_add_platform_specific_args"}:
            return self.method(module, node, last, env)
        return None

    def method(self, module, node, name, env):
        """A call of a function of a class: it is followed in the class that has it."""
        owner = ast.unparse(node.func.value)
        if owner == "cls":
            classes = [env["cls"]]
        elif owner == "super()":
            where, of = env["defined_in"]
            classes = [self.release.find(where, ast.unparse(base)) for base in of.bases]
        else:
            classes = [self.release.find(module, owner)]
        for found in filter(None, classes):
            holder = self.holder(*found, name)
            if holder:
                where, of, function = holder
                inner = {"cls": env["cls"] if owner in {"cls", "super()"} else found, "defined_in": (where, of)}
                given = [self.value(module, one, env) for one in node.args]
                names = [one.arg for one in function.args.args if one.arg not in {"cls", "self"}]
                inner |= dict(zip(names, given))
                self.function(where, function, inner)
                return next((one for one in given if isinstance(one, dict)), None)
        return None

    def holder(self, module, node, name):
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == name:
                return module, node, item
        for base in node.bases:
            found = self.release.find(module, ast.unparse(base))
            if found and isinstance(found[1], ast.ClassDef) and (out := self.holder(*found, name)):
                return out
        return None

    def argument(self, module, node, env):
        names = [one.value for one in node.args if isinstance(one, ast.Constant)]
        how = {}
        for one in node.keywords:
            if one.arg is None:
                spread = self.value(module, one.value, env)
                if spread is None:
                    sys.exit(f"{self.release.path}: cannot read {ast.unparse(node)[:200]}")
                how |= spread
            else:
                how[one.arg] = self.keyword(module, one.arg, one.value, env)
        if names and names[0].startswith("-"):
            if any(one.arg == "choices" for one in node.keywords) and not how.get("choices"):
                self.platform.add(names[0])
            self.arguments.append((names, how))

    def keyword(self, module, name, node, env):
        text = ast.unparse(node)
        if name == "choices":
            return self.choices(module, node)
        if name == "type":
            if ".lower()" in text:
                return "fold"
            return "json" if "json.loads" in text else text if text in {"int", "float"} else None
        if name == "action":
            return node.value if isinstance(node, ast.Constant) else text.split(".")[-1]
        if name in {"nargs", "flags"}:
            return ast.literal_eval(node)
        return None

    def choices(self, module, node):
        if isinstance(node, (ast.List, ast.Tuple)):
            return [str(one) for one in ast.literal_eval(node)]
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"get_args", "list"}:
            inner = node.args[0]
            if isinstance(inner, ast.Call):
                return self.choices(module, inner)
            return [one for atom in self.atoms(module, inner) if atom[0] == "literal" for one in atom[1]] or None
        return None

    def inverses(self, name):
        """The other names that turn a switch off."""
        if self.switches_have_inverse:
            for one, other in (("--enable-", "--disable-"), ("--disable-", "--enable-")):
                if name.startswith(one):
                    yield other + name.removeprefix(one)

    def registered(self, flag):
        """Names of parsers and methods that this release brings along."""
        name, modules = REGISTERED[flag]
        for module in modules:
            found = self.release.find(module, name)
            if found and isinstance(found[1], ast.Dict):
                return [ast.literal_eval(key) for key in found[1].keys]
            if found:
                return list(dict.fromkeys(v for a in self.atoms(*found) if a[0] == "literal" for v in a[1]))
        return []


def entries(names, how):
    """The names of one argument, each with (kind, full name, allowed values)."""
    full = next((name for name in names if name.startswith("--")), names[0])
    action, nargs = how.get("action"), how.get("nargs")
    if action == "BooleanOptionalAction":
        kind = "switch"
    elif action in {"store_true", "store_false", "help", "version", "count", "store_const"}:
        kind = "plain"
    elif nargs == "?":
        kind = "maybe"
    elif nargs in {"+", "*"}:
        kind = "list"
    elif how.get("type") == "fold":
        kind = "fold" if how.get("choices") else "text"
    else:
        kind = how.get("type") or "text"
    for name in names:
        yield name, (kind, full, tuple(how.get("choices") or ()))
