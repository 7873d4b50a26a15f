"""The certificate of transfer: its statistics, its verdicts, and the command that makes it."""

import html.parser
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from robot_rl.certificate import (
    FAIL,
    NO_PART,
    NOT_RUN,
    PASS,
    UNSURE,
    Condition,
    finding,
    kept_share,
    nominal_finding,
    overall,
    proportion,
    read_conditions,
    without,
)
from robot_rl.cli import main
from robot_rl.errors import ConfigurationError
from robot_rl.evaluation import EpisodeResult, Evaluation

CONDITION = Condition("heavier", "more mass", 0.8)


def evaluation(rewards, ended_early=False, success=True):
    episode = EpisodeResult(0, (), 1.0, 0.0, ended_early, success, {"speed": 1.0}, {})
    return Evaluation(tuple(replace(episode, reward=float(r)) for r in rewards), {"p50": 0.0, "p99": 0.0, "max": 0.0})


@pytest.mark.parametrize(("count", "of"), [(0, 10), (3, 20), (19, 20), (20, 20), (50, 100)])
def test_a_share_has_wilsons_interval(count, of):
    expected = stats.binomtest(count, of).proportion_ci(0.95, method="wilson")
    found = proportion(count, of)
    assert (found.value, found.low, found.high) == pytest.approx((count / of, *expected), abs=1e-6)


def test_the_interval_of_a_ratio_covers_the_truth_as_often_as_it_says():
    rng, covered, trials = np.random.default_rng(0), 0, 300
    for _ in range(trials):
        start = rng.normal(100.0, 15.0, 30)  # what a seed brings to both
        found = kept_share(start + rng.normal(0, 5, 30), 0.85 * start + rng.normal(0, 5, 30))
        covered += found.low <= 0.85 <= found.high
    low, high = stats.binom.interval(0.999, trials, 0.93)
    assert low <= covered <= max(high, 0.99 * trials)


def test_pairs_of_seeds_make_the_interval_narrow():
    start = np.random.default_rng(0).normal(100.0, 30.0, 20)
    paired = kept_share(start, 0.9 * start)
    assert (paired.low, paired.high) == pytest.approx((0.9, 0.9))
    shuffled = kept_share(start, 0.9 * start[::-1])
    assert shuffled.high - shuffled.low > 0.1


@pytest.mark.parametrize(
    ("rewards", "verdict"),
    [([90, 92, 91, 89], PASS), ([70, 71, 69, 72], FAIL), ([100, 60, 100, 70], UNSURE), ([0, 0, 0, 0], FAIL)],
)
def test_a_verdict_needs_the_whole_interval(rewards, verdict):
    found = finding(CONDITION, evaluation([100, 101, 99, 100]), evaluation(rewards), {"mass": 1.15}, "mujoco")
    assert found.verdict == verdict
    assert found.kept.value == pytest.approx(np.mean(rewards) / 100.0)
    assert found.returns == tuple(map(float, rewards))


def test_where_the_nominal_return_is_negative_success_is_compared():
    nominal = evaluation([-10.0] * 20)
    found = finding(CONDITION, nominal, evaluation([-5.0] * 20), {}, "mujoco")
    assert found.kept.value == 1.0
    assert finding(CONDITION, nominal, evaluation([-5.0] * 20, success=False), {}, "mujoco").verdict == FAIL


def test_a_policy_that_never_succeeds_gets_no_certificate():
    standing = evaluation([100.0] * 20, success=False)
    assert nominal_finding(standing, "mujoco").verdict == FAIL
    assert nominal_finding(evaluation([1.0] * 20), "mujoco").verdict == PASS
    assert nominal_finding(evaluation([1.0] * 5), "mujoco").verdict == UNSURE  # too few to tell
    no_notion = evaluation([1.0] * 20, ended_early=True, success=None)
    assert nominal_finding(no_notion, "mujoco").verdict == FAIL


def test_a_condition_in_which_one_simulation_diverged_fails_however_good_the_rest_is():
    nominal = evaluation([100.0] * 20)
    broken = replace(nominal.episodes[0], reward=0.0, ended_early=True, success=None, figures={}, fault="diverged")
    found = finding(CONDITION, nominal, replace(nominal, episodes=(*nominal.episodes[1:], broken)), {}, "mujoco")
    assert found.kept.low > CONDITION.threshold
    assert found.verdict == FAIL
    assert (found.diverged, found.reason) == (1, "the simulation diverged in 1 of 20 episodes")
    assert found.success.value == found.completed.value == 19 / 20
    assert found.figures == {"speed": 1.0}
    assert nominal_finding(replace(nominal, episodes=(*nominal.episodes[1:], broken)), "mujoco").verdict == FAIL


def test_only_what_was_run_and_passed_or_does_not_apply_certifies():
    good = nominal_finding(evaluation([1.0] * 20), "mujoco")
    assert overall([good, without(CONDITION, NO_PART, "no floor")])
    assert not overall([good, without(CONDITION, NOT_RUN, "no engine")])
    assert not overall([good, replace(good, verdict=UNSURE)])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "at least one condition"),
        ({"a": {"terms": {"mass": 1.1}, "engine": "other"}}, "either terms or engine"),
        ({"a": {"threshold": 0.9}}, "either terms or engine"),
        ({"a": {"terms": "mass"}}, "a mapping of terms"),
        ({"a": {"terms": {"mass": 1.1}, "thresold": 0.9}}, "unknown key 'thresold'"),
        ({"a": {"terms": {"mass": 1.1}, "threshold": 0}}, "a.threshold: expected a number above 0"),
    ],
)
def test_a_wrong_file_of_conditions_is_named(values, words):
    with pytest.raises(ConfigurationError, match=words):
        read_conditions(values, "mine.yaml")


# -- the command ------------------------------------------------------------------------------------------------------


class Outline(html.parser.HTMLParser):
    """Tags that were opened and not closed, and whatever is fetched from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.outside = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.outside += [v for k, v in attributes if k in ("src", "href", "xlink:href") and v and v[0] != "#"]

    def handle_startendtag(self, tag, attributes):
        self.outside += [v for k, v in attributes if k in ("src", "href", "xlink:href") and v and v[0] != "#"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_certificate_is_a_table_a_drawing_json_and_a_page(tmp_path, capsys):
    given = ["dclaw-turn_valve", "--episodes", "3", "--only", "heavier", "slippery", "sloped", "--out", str(tmp_path)]
    code = main(["transfer", *given])
    table = capsys.readouterr().out
    found = json.loads((tmp_path / "certificate.json").read_text())
    assert code == (0 if found["passed"] else 4)
    assert [one["name"] for one in found["conditions"]] == ["nominal", "heavier", "slippery", "sloped"]
    by_name = {one["name"]: one for one in found["conditions"]}
    assert by_name["heavier"]["terms"] == {"mass": 1.15}  # a hand on a fixed base carries no payload
    assert by_name["sloped"]["verdict"] == NO_PART
    ratio = np.mean(by_name["slippery"]["returns"]) / np.mean(by_name["nominal"]["returns"])
    assert by_name["slippery"]["kept"]["value"] == pytest.approx(ratio)
    assert f"{ratio:.0%}" in table
    assert (tmp_path / "certificate.png").read_bytes()[:4] == b"\x89PNG"
    page = (tmp_path / "certificate.html").read_text()
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.outside == []
    for word in ("dclaw-turn_valve", found["sha256"][:16], "sloped", "<svg", "mass: 1.15"):
        assert word in page


def test_the_same_certificate_twice_is_the_same(tmp_path, capsys):
    given = ["dclaw-turn_valve", "--episodes", "2", "--seconds", "1", "--only", "untimely", "--json"]
    found = []
    for name in ("a", "b"):
        main(["transfer", *given, "--out", str(tmp_path / name)])
        found.append(json.loads(capsys.readouterr().out)["conditions"])
    assert found[0] == found[1]
    assert not math.isnan(found[0][1]["kept"]["value"])


def test_conditions_may_be_ones_own(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"hopeless": {"terms": {"motor_strength": 0.01}, "threshold": 0.9}}))
    given = ["dclaw-turn_valve", "--episodes", "2", "--conditions", str(path), "--out", str(tmp_path), "--json"]
    assert main(["transfer", *given]) == 4
    found = json.loads(capsys.readouterr().out)
    assert not found["passed"]
    assert found["conditions"][1]["verdict"] == FAIL


def test_a_simulation_that_diverges_fails_its_condition_and_the_others_are_measured(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its own log where it runs
    light = {"mass": {"ratio": {"choice": [1.0, 1e-9]}, "each": False}, "armature": {"ratio": 1e-6}}
    conditions = {"light": {"terms": light}, "heavier": {"terms": {"mass": 1.15}}}
    Path("mine.yaml").write_text(yaml.safe_dump(conditions, sort_keys=False))
    given = ["go2-walk", "--episodes", "6", "--seconds", "0.4", "--conditions", "mine.yaml", "--out", "."]
    assert main(["transfer", *given]) == 4
    table = capfd.readouterr().out
    nominal, light, heavier = json.loads(Path("certificate.json").read_text())["conditions"]
    assert light["verdict"] == FAIL
    assert 0 < light["diverged"] < 6
    assert light["completed"]["value"] == pytest.approx(1.0 - light["diverged"] / 6)
    assert (nominal["diverged"], heavier["diverged"], heavier["reason"]) == (0, 0, "")
    assert heavier["verdict"] == PASS
    words = f"the simulation diverged in {light['diverged']} of 6 episodes"
    assert f"fail: {words}" in table
    assert words in Path("certificate.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["go2-walk", "--robot", "minitaur"], 4, ["made for robot 'go2'", "not for 'minitaur'"]),
        (["go2-walk", "--only", "heavy"], 2, ["unknown condition 'heavy'", "heavier"]),
        (["go2-walk", "--episodes", "1"], 2, ["at least 2"]),
        (["go2-walk", "--conditions", "/nowhere.yaml"], 2, ["/nowhere.yaml"]),
        (["no-walk"], 2, ["no-walk", "go2-walk"]),
    ],
)
def test_a_certificate_that_cannot_be_is_refused_in_one_line(arguments, code, words, capsys):
    assert main(["transfer", *arguments]) == code
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    for word in words:
        assert word in text
