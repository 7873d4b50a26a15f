"""What the pages say is true where a machine can tell."""

import re
from pathlib import Path

import pytest
import yaml

from robot_rl.cli import COMMANDS
from robot_rl.commands.configuration import read_file
from robot_rl.spec import SENSORS
from robot_rl.spec_file import load_robot, parse_robot
from robot_rl.tasks import TASKS
from sim.randomization import TERMS, Randomization

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def blocks(page, language):
    """The fenced blocks of a language on a page."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_exist(page):
    for command in re.findall(r"robot-rl ([a-z]+)", page.read_text(encoding="utf-8")):
        assert command in COMMANDS
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z]+)`", page.read_text(encoding="utf-8")):
        assert f"\n{target}:" in makefile


def test_the_robot_file_on_the_page_is_valid():
    (text,) = blocks("docs/robots.md", "yaml")
    spec = parse_robot(yaml.safe_load(text), "robots.md")
    assert spec.joint_names == ("hip", "knee")
    page = (ROOT / "docs" / "robots.md").read_text()
    assert all(f"`{sensor}`" in page for sensor in SENSORS)


def test_the_configuration_on_the_page_is_valid(tmp_path):
    (text,) = blocks("docs/training.md", "yaml")
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert read_file(path)["task"]["name"] == "walk"


def test_the_table_of_tasks_is_complete():
    named = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "tasks.md").read_text(), re.MULTILINE)
    assert set(named) == set(TASKS)


def test_the_randomisation_on_the_page_is_valid_and_its_table_complete():
    (text,) = blocks("docs/sim_to_real.md", "yaml")
    assert len(Randomization(yaml.safe_load(text), load_robot("go2")).settings) == 8
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", (ROOT / "docs" / "sim_to_real.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"\w+", " ".join(rows))) == set(TERMS)


def test_the_task_on_the_page_runs():
    (text,) = blocks("docs/tasks.md", "python")
    names = {}
    exec(text, names)
    env = names["env"]
    env.reset(seed=0)
    _, _, _, _, info = env.step(env.action_space.sample())
    assert set(info["reward_terms"]) == {"low"}
    env.close()


def test_the_first_lines_of_python_on_the_front_page_run():
    exec(blocks("README.md", "python")[0], {})


def test_the_composition_on_the_page_is_exact():
    names = {}
    exec(blocks("docs/composition.md", "python")[0], names)
    assert abs(names["exact"] - names["alone"]).max() < 1e-9
    assert (names["average"] - names["bound"] < names["alone"]).all()
    assert (names["alone"] < names["average"]).all()
