"""The package that pip and colcon build."""

import configparser
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("robot_rl", "sim", "hardware", "policies")


@pytest.fixture(scope="module")
def config():
    parser = configparser.RawConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names in a wheel built from a copy of the sources."""
    copy = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "resource", "launch"):
        _copy(ROOT / name, copy / name)
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "package.xml", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", "dist", "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def _copy(source, target):
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


def test_the_wheel_has_every_module_and_every_data_file(wheel):
    for package in PACKAGES:
        for pattern in ("*.py", "*.yaml", "*.xml", "*.onnx"):
            for path in (ROOT / package).rglob(pattern):
                assert path.relative_to(ROOT).as_posix() in wheel


def test_the_wheel_has_nothing_else(wheel):
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.startswith("robot_rl-")} == set(PACKAGES)


def test_the_wheel_marks_the_package_for_ament(wheel):
    assert any(name.endswith("share/ament_index/resource_index/packages/robot_rl") for name in wheel)
    assert any(name.endswith("share/robot_rl/package.xml") for name in wheel)


def test_the_wheel_has_every_launch_file(wheel):
    for path in (ROOT / "launch").glob("*.launch.py"):
        assert any(name.endswith(f"share/robot_rl/launch/{path.name}") for name in wheel)


def test_package_xml_names_every_ros_package_that_is_imported():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    named = {element.text for element in package.findall("exec_depend")}
    pattern = r"^\s*(?:from|import) (rclpy|launch|\w+_(?:msgs|srvs|interfaces))\b"
    files = [*(ROOT / "hardware").glob("*.py"), *(ROOT / "robot_rl" / "commands").glob("*.py")]
    imported = {name for path in files for name in re.findall(pattern, path.read_text(), re.MULTILINE)}
    assert {"rclpy", "launch", "sensor_msgs"} <= imported
    assert imported <= named


def test_package_xml_and_setup_cfg_say_the_same(config):
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    metadata = config["metadata"]
    for tag, key in (("name", "name"), ("version", "version"), ("description", "description"), ("license", "license")):
        assert package.findtext(tag) == metadata[key]
    assert package.find("maintainer").get("email") == metadata["maintainer_email"]
    assert package.findtext("export/build_type") == "ament_python"


def test_every_package_of_the_tree_is_named(config):
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for name in PACKAGES
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert set(config["options"]["packages"].split()) == found


def test_launch_is_no_package():
    # With an __init__.py it would hide ROS's own package `launch`.
    assert not (ROOT / "launch" / "__init__.py").exists()
    assert not (ROOT / "launch.py").exists()


def test_a_robots_computer_gets_three_packages(config):
    base, onboard = config["options"]["install_requires"], config["options.extras_require"]["onboard"]
    names = {re.split(r"[<>=;\[ ]", line)[0] for line in (base + "\n" + onboard).split("\n") if line}
    assert names == {"numpy", "pyyaml", "onnxruntime"}


def test_ros_wheels_are_pinned_to_one_distribution_and_platform(config):
    for line in config["options.extras_require"]["ros"].strip().splitlines():
        assert line.startswith("ros-jazzy-")
        assert 'platform_system == "Linux" and platform_machine == "x86_64"' in line


def test_every_direct_dependency_is_constrained(config):
    extras = config["options.extras_require"]
    lists = [text for name, text in extras.items() if name != "ros"]
    wanted = "\n".join([config["options"]["install_requires"], *lists])
    names = {re.split(r"[<>=;\[ ]", line)[0].lower() for line in wanted.split("\n") if line and line[0] != "#"}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if line and not line.startswith("#")}
    assert names <= pinned


def test_the_build_is_done_by_a_setuptools_that_colcon_can_use():
    assert re.search(r'requires = \["setuptools>=[\d.]+,<80"\]', (ROOT / "pyproject.toml").read_text())
