"""The launch files: what they start is accepted by the programs they start, and they are what ROS's launch expects."""

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from robot_rl.commands.launching import LAUNCHES, programs, robot_with_safety
from robot_rl.errors import ConfigurationError
from robot_rl.spec_file import load_robot

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))

CASES = [
    ("twin", {}),
    ("twin", {"robot": "dclaw", "namespace": "left", "rate": "100", "lock_step": "true", "record": "bags/new"}),
    ("policy", {}),
    ("policy", {"robot": "minitaur", "policy": "minitaur-walk", "namespace": "/left", "twin": "true", "rate": "100"}),
    ("policy", {"autostart": "false", "record": "bags/new", "lock_step": "true"}),
    ("train", {}),
    ("train", {"task": "stand", "robot": "minitaur", "steps": "5000", "twin": "true", "lock_step": "true"}),
    ("train", {"resume": "runs/walk-go2/one", "record": "bags/new", "namespace": "left"}),
]


def test_there_is_a_file_for_each_launch():
    assert {path.name for path in FILES} == {f"{name}.launch.py" for name in LAUNCHES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_file_defines_what_launch_asks_for(path):
    tree = ast.parse(path.read_text())
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions == ["generate_launch_description"]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [call.args[0].value for call in calls] == [path.name.removesuffix(".launch.py")]


@pytest.mark.parametrize(("name", "values"), CASES)
def test_every_flag_that_is_started_exists(name, values):
    for program in programs(name, values):
        module, *rest = program.arguments[1:]
        if module == "robot_rl.cli":
            command, *flags = rest
            parser = importlib.import_module(f"robot_rl.commands.{command}")._parser()
            if command == "train" and "--on" not in parser._option_string_actions:
                pytest.skip("this version does not train over ROS")
            parsed = parser.parse(flags)
            assert getattr(parsed, "robot", None) or parsed.resume
        else:
            if importlib.util.find_spec(module) is None:
                pytest.skip("this version has no policy node")
            parameters = _parameters(rest)
            assert set(parameters) <= set(importlib.import_module(module).PARAMETERS)
            assert Path(parameters["policy"]).is_file()
            load_robot(parameters["robot"])


def _parameters(words):
    """Of `--ros-args -p name:=value -r __ns:=/left`."""
    assert words[0] == "--ros-args"
    pairs = list(zip(words[1::2], words[2::2], strict=True))
    assert {flag for flag, _ in pairs} <= {"-p", "-r"}
    return dict(text.split(":=") for flag, text in pairs if flag == "-p")


def test_the_page_names_every_argument():
    rows = re.findall(r"^\| (`.*?`) \| ([a-z, ]+) \|", (ROOT / "docs" / "launch.md").read_text(), re.MULTILINE)
    page = {(word, file) for words, files in rows for word in re.findall(r"`(\w+)`", words) for file in
            (LAUNCHES if files == "all" else files.split(", "))}  # fmt: skip
    assert page == {(argument, name) for name, launch in LAUNCHES.items() for argument in launch.arguments}


def test_a_recording_lies_beside_what_is_recorded():
    twin, record = programs("twin", {"namespace": "left", "record": "bags/new"})
    assert (twin.leads, record.leads) == (True, False)
    assert record.arguments[2:] == ("record", "go2", "--out", "bags/new", "--namespace", "left")


def test_safety_replaces_keys_of_the_robots_file(tmp_path):
    (tmp_path / "strict.yaml").write_text(yaml.safe_dump({"tilt_limit": 0.5, "joint_velocity": "stop"}))
    path = robot_with_safety("go2", str(tmp_path / "strict.yaml"))
    changed, as_it_is = load_robot(path), load_robot("go2")
    assert (changed.safety.tilt_limit, changed.safety.joint_velocity) == (0.5, "stop")
    assert changed.safety.height_limit == as_it_is.safety.height_limit
    assert Path(changed.simulation.model).samefile(as_it_is.simulation.model)
    (tmp_path / "wrong.yaml").write_text("tilt: perhaps")
    with pytest.raises(ConfigurationError, match=r"unknown value 'perhaps' for go2_wrong\.yaml\.safety\.tilt"):
        robot_with_safety("go2", str(tmp_path / "wrong.yaml"))
    assert not (tmp_path / "go2_wrong.yaml").exists()


def test_yes_and_no_are_true_and_false():
    with pytest.raises(ConfigurationError, match="lock_step: expected true or false, got 'yes'"):
        programs("twin", {"lock_step": "yes"})


@pytest.mark.parametrize("name", LAUNCHES)
def test_ros_launch_shows_the_arguments(name):
    launch = _ros_launch()
    path = ROOT / "launch" / f"{name}.launch.py"
    loaded = launch.launch_description_sources.get_launch_description_from_python_launch_file(str(path))
    declared = {argument.name: argument for argument in loaded.get_launch_arguments()}
    assert set(declared) == set(LAUNCHES[name].arguments)


def test_ros_launch_runs_a_twin_until_it_is_interrupted(tmp_path):
    _ros_launch()
    pytest.importorskip("rclpy", reason="ROS 2 is not installed (extra 'ros')")
    script = (
        "import sys, launch, launch.launch_description_sources as sources, launch.actions as actions\n"
        "service = launch.LaunchService(argv=['robot:=dclaw', 'lock_step:=true', 'namespace:=left'])\n"
        "source = sources.PythonLaunchDescriptionSource(sys.argv[1])\n"
        "values = [('robot', 'dclaw'), ('lock_step', 'true'), ('namespace', 'left')]\n"
        "include = actions.IncludeLaunchDescription(source, launch_arguments=values)\n"
        "service.include_launch_description(launch.LaunchDescription([include,\n"
        "    actions.TimerAction(period=12.0, actions=[actions.Shutdown()])]))\n"
        "sys.exit(service.run())\n"
    )
    place = str(ROOT / "launch" / "twin.launch.py")
    environment = {**os.environ, "ROS_LOG_DIR": str(tmp_path), "ROS_DOMAIN_ID": "49"}
    done = subprocess.run(
        [sys.executable, "-c", script, place], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"twin of dclaw: commands on /left/commands", done.stdout + done.stderr)
    assert "process has finished cleanly" in done.stdout + done.stderr


def _ros_launch():
    """ROS's own package, where it is installed; the folder of our launch files has the same name."""
    try:
        from launch import LaunchDescription  # noqa: F401
    except ImportError:
        pytest.skip("ROS's package launch is not installed; it comes with a ROS installation, not with pip")
    import launch

    return launch
