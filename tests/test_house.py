"""The house holds: imports point down, links resolve, everything is declared, importable and packed."""

import ast
import importlib
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from setuptools import find_packages
from setuptools.config.setupcfg import read_configuration

import jaxrecon

ROOT = pathlib.Path(__file__).resolve().parents[1]
LINKED = ("kernels", "agents")
SOURCES = sorted(
    path for folder in ("jaxrecon", *LINKED, "experiments") for path in (ROOT / folder).rglob("*.py")
)  # rglob does not follow the links, so no file comes twice
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "jaxrecon").with_suffix("").parts)
    for folder in (ROOT / "jaxrecon", *(ROOT / "jaxrecon" / link for link in LINKED))
    for path in folder.rglob("*.py")
    if path.name != "__init__.py"
)
PACKAGES = sorted(find_packages(str(ROOT), include=["jaxrecon*"]))
MODULE_OF_DISTRIBUTION = {"pillow": "PIL", "orbax-checkpoint": "orbax", "imageio-ffmpeg": "imageio_ffmpeg"}


def copy_of_the_house(folder: pathlib.Path) -> pathlib.Path:
    """A copy of what is committed of the product, links included."""
    for name in ("jaxrecon", *LINKED):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def lint_imports(folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Check the import contract of the house in ``folder``, not of the installed one."""
    program = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports as lint; sys.exit(lint())"
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)


def test_imports_point_down():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("jaxrecon/logs/__init__.py", "import jaxrecon.street", "Imports point down"),
        ("jaxrecon/dynamics/__init__.py", "import jaxrecon.metrics", "Imports point down"),
        ("jaxrecon/viz/__init__.py", "import jaxrecon.agents", "Imports point down"),
        ("jaxrecon/metrics/__init__.py", "import jaxrecon.kernels", "Only the renderer calls the kernels"),
    ],
)
def test_the_import_contract_bites(tmp_path, file, line, broken):
    house = copy_of_the_house(tmp_path)
    with (house / file).open("a") as stream:
        stream.write(f"\n{line}\n")
    result = lint_imports(house)
    assert result.returncode == 1, result.stderr
    assert f"{broken} BROKEN" in result.stdout


def test_a_new_folder_must_find_its_place_in_the_contract(tmp_path):
    house = copy_of_the_house(tmp_path)
    (house / "jaxrecon" / "attic").mkdir()
    (house / "jaxrecon" / "attic" / "__init__.py").write_text('"""An unlisted folder."""\n')
    result = lint_imports(house)
    assert result.returncode == 1
    assert "attic" in result.stdout


@pytest.mark.parametrize("name", LINKED)
def test_links_are_relative_and_resolve(name):
    link = ROOT / "jaxrecon" / name
    assert link.is_symlink()
    assert link.readlink() == pathlib.Path("..") / name
    assert link.resolve() == ROOT / name
    assert pathlib.Path(importlib.import_module(f"jaxrecon.{name}").__file__).parent == link


@pytest.mark.parametrize("name", LINKED)
def test_a_lost_link_says_how_to_restore_it(tmp_path, name):
    house = copy_of_the_house(tmp_path)
    (house / "jaxrecon" / name).unlink()
    (house / "jaxrecon" / name).write_text(f"../{name}")  # what a checkout without symlinks leaves
    program = "import sys; sys.path.insert(0, '.'); import jaxrecon"
    result = subprocess.run([sys.executable, "-c", program], cwd=house, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"jaxrecon/{name} is a symlink to ../{name} and this checkout lost it" in result.stderr
    assert f"git checkout -- jaxrecon/{name}" in result.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is_and_imports_what_is_declared(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module starts with a docstring"
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add(node.module.partition(".")[0])
    # `import kernels` would make a second copy of every module object.
    assert not imported & set(LINKED), f"import them as jaxrecon.{', jaxrecon.'.join(LINKED)}"
    requirements = read_configuration(ROOT / "setup.cfg")["options"]["install_requires"]
    distributions = [re.split(r"[<>=\[;]", requirement)[0] for requirement in requirements]
    declared = {MODULE_OF_DISTRIBUTION.get(name, name) for name in distributions}
    beside = (
        {other.stem for other in (ROOT / "experiments").glob("*.py")} if path.parent.name == "experiments" else set()
    )
    undeclared = imported - declared - beside - set(sys.stdlib_module_names) - {"jaxrecon"}
    assert not undeclared, f"not in setup.cfg's install_requires: {sorted(undeclared)}"


def test_the_example_in_the_readme_uses_what_there_is():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    for statement in ast.parse(example).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            exec(ast.unparse(statement), names)
    for node in ast.walk(ast.parse(example)):
        # What hangs on an imported name must exist; calls and local variables are not evaluated.
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            expression = ast.unparse(node)
            if expression.partition(".")[0] in names:
                eval(expression, names)


def test_version_has_one_owner():
    assert jaxrecon.__version__ == importlib.metadata.version("jaxrecon")
    assert re.fullmatch(r"\d+\.\d+\.\d+", jaxrecon.__version__)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_folder_is_importable_and_exports_what_it_names(name):
    module = importlib.import_module(name)
    assert module.__doc__ and "\n" not in module.__doc__.strip(), "one line says what the folder is"
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), f"{name}.__all__ names {public}, which it does not have"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_importable(name):
    importlib.import_module(f"jaxrecon.{name}")


def test_every_folder_with_code_is_a_package():
    folders = {
        f"jaxrecon.{module.rpartition('.')[0]}" if "." in module else "jaxrecon" for module in MODULES
    }  # a folder without __init__.py would be left out of the wheel in silence
    assert folders <= set(PACKAGES)
    assert {"jaxrecon.kernels", "jaxrecon.agents"} <= set(PACKAGES)


@pytest.mark.slow
def test_the_wheel_holds_every_module(tmp_path):
    house = copy_of_the_house(tmp_path)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", "dist"], cwd=house, check=True, capture_output=True)
    (wheel,) = (house / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"jaxrecon/{module.replace('.', '/')}.py" for module in MODULES} <= names
    assert {f"{package.replace('.', '/')}/__init__.py" for package in PACKAGES} <= names
    assert not [name for name in names if not name.startswith("jaxrecon")], "nothing but jaxrecon is installed"
    assert [name for name in names if name.endswith("LICENSE")]
