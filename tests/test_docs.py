"""What the pages say is true where a machine can tell."""

import importlib
import re
import runpy
from pathlib import Path

import pytest
import yaml

from robot_rl.cli import COMMANDS
from robot_rl.commands.config_files import read_file
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


@pytest.fixture
def result_pages(monkeypatch):
    """The module that writes tables of results into pages."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("pages")


def test_tables_of_results_are_what_was_measured(result_pages):
    stale = [path.name for path in result_pages.PAGES if result_pages.filled(path.read_text()) != path.read_text()]
    assert not stale, "`python benchmarks/pages.py` writes these pages anew"


def test_a_wrong_figure_in_a_table_of_results_is_noticed(result_pages):
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    forged = page.replace("| walk-go2 | sac | 6,000", "| walk-go2 | sac | 5,000")
    assert forged != page
    assert result_pages.filled(forged) == page
    assert result_pages.filled("no table, <!-- end -->") == "no table, <!-- end -->"


def test_a_mean_over_seeds_shows_each_of_them():
    over_seeds = runpy.run_path(str(ROOT / "benchmarks" / "tables.py"))["over_seeds"]
    assert over_seeds({1: 3.0, 0: 1.0, 2: 5.0}) == "3 ± 2 (1, 3, 5)"
    assert over_seeds({4: 3.0}) == "3 (seed 4: 3)"
