"""`robot-rl compose`: from two finished runs to one file, and one line for what a person can get wrong."""

import json
import shutil

import numpy as np
import pytest

from policies import composed_export
from policies.composed_runtime import ComposedPolicy
from policies.runtime import OnnxPolicy
from robot_rl.cli import main

pytestmark = pytest.mark.usefixtures("short_episodes", "short_checks")

TINY = """
    --steps 150 --sac.hidden_sizes 16 16 --trainer.start_steps 100 --trainer.batch_size 32
    --trainer.evaluation_interval 150 --trainer.evaluation_episodes 1 --trainer.checkpoint_interval 75
    --trainer.threads 1
""".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def short_checks():
    """Files are compared with torch on fewer observations: tests/policies has that, here are the commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composed_export, "OBSERVATIONS", 200)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of a hundred steps that differ in their seed."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("low", "high")):
        where = ("--out", str(folder / name), "--seed", str(seed))
        assert main(["train", "stand", "--robot", "go2", *where, *TINY]) == 0
    return folder


@pytest.fixture(scope="module")
def composed(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("composed") / "both"
    arguments = ("--weights", "0.25", "0.75", "--correct", "20", "--distil", "20", "--out", str(folder))
    assert main(["compose", str(runs / "low"), str(runs / "high"), *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Two skills of the pusher that learnt from each other's experience, composed."""
    folder = tmp_path_factory.mktemp("shared")
    for axes in ("x", "y"):
        arguments = ["--task.axes", axes, "--out", str(folder / axes), "--trainer.keep_terms", "true"]
        assert main(["train", "push", "--robot", "planar_arm", *arguments, *TINY]) == 0
    assert main(["compose", str(folder / "x"), str(folder / "y"), "--share", "20", "--out", str(folder / "both")]) == 0
    return folder


def test_two_runs_become_one_file_that_says_what_it_is(composed, capsys):
    policy = ComposedPolicy.load(composed / "policy.onnx")
    assert policy.skills == ("low", "high")
    assert policy.weights.tolist() == [0.25, 0.75]
    assert policy.composition.corrected
    assert main(["info", str(composed)]) == 0
    page = capsys.readouterr().out
    for word in ("Composition: conjunction, less a learnt divergence correction", "low", "high", "0.25", "0.75"):
        assert word in page


def test_one_weight_gives_back_the_policy_that_the_run_exported_itself(composed, runs):
    policy = ComposedPolicy.load(composed / "policy.onnx")
    rows = np.random.default_rng(0).standard_normal((200, policy.contract.observation.size)).astype(np.float32)
    for index, name in enumerate(policy.skills):
        policy.weights = np.eye(2)[index]
        own = OnnxPolicy.load(runs / name / "policy.onnx").act(rows)
        np.testing.assert_allclose(policy.act(rows).action, own.action, atol=1e-4)
        np.testing.assert_allclose(policy.act(rows).command, own.command, atol=1e-4)


def test_the_report_holds_what_was_measured_over_the_replay(composed):
    report = json.loads((composed / "report.json").read_text())
    assert report["observations"] == {"low": 500, "high": 500}
    assert report["disagreement_nats"]["mean"] > 0
    alpha, apart = np.prod(list(report["alpha"].values())) ** 0.5, report["disagreement_nats"]["mean"]
    assert report["bound"]["mean"] == pytest.approx(alpha * 0.97 / 0.03 * apart, rel=1e-3)
    assert 1 <= report["effective_sample_size"]["median"] <= 48
    assert set(report["samplers"]) == {"product", "candidates", "svgd", "mala", "cem", "mppi", "reference"}
    assert set(report["overlap"]) == {"low", "high"}


def test_a_composed_folder_is_exported_and_evaluated_like_a_run(composed, tmp_path, capsys):
    assert main(["export", str(composed), "--out", str(tmp_path / "a.onnx")]) == 0
    first, again = (ComposedPolicy.load(path) for path in (composed / "policy.onnx", tmp_path / "a.onnx"))
    assert first.contract.graph_sha256 == again.contract.graph_sha256
    capsys.readouterr()
    arguments = ("--weights", "1", "0", "--episodes", "1", "--seconds", "0.2", "--json")
    assert main(["evaluate", str(composed), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 1


def test_a_distilled_actor_is_a_plain_policy_that_names_its_skills(composed):
    contract = OnnxPolicy.load(composed / "distilled.onnx").contract
    assert [skill["name"] for skill in contract.training["distilled_from"]] == ["low", "high"]
    assert contract.training["weights"] == [0.25, 0.75]


def test_skills_of_soft_q_learning_are_composed_too_and_need_no_correction_nor_points(tmp_path, capsys, failed):
    run, out = tmp_path / "run", tmp_path / "both"
    tiny = [word.replace("--sac.", "--soft_q.") for word in TINY]
    tiny += ["--trainer.keep_terms", "true"]
    assert main(["train", "stand", "--robot", "go2", "--algorithm", "soft_q", "--out", str(run), *tiny]) == 0
    skills = str(sorted((run / "checkpoints").glob("0*"))[0]), str(run), "--names", "early", "late"
    assert main(["compose", *skills, "--weights", "0.25", "0.75", "--distil", "20", "--out", str(out)]) == 0
    assert "disagreement" in capsys.readouterr().out
    policy, own = ComposedPolicy.load(out / "policy.onnx"), OnnxPolicy.load(run / "policy.onnx")
    policy.weights = [0.0, 1.0]
    rows = np.random.default_rng(0).standard_normal((100, policy.contract.observation.size)).astype(np.float32)
    same = np.abs(policy.act(rows).action - own.act(rows).action).max(axis=1) <= 1e-4
    assert same.mean() > 0.98  # two candidates may be worth the same to the last digit
    for flag, words in (("--correct", "--correct is for Gaussian skills"), ("--points", "--points is for Gaussian")):
        code, line = failed("compose", *skills, "--out", tmp_path / "more", flag, "4")
        assert code == 2
        assert words in line
        assert not (tmp_path / "more").exists()
    line = refused_at_once(capsys, *skills, "--points", 4, "--share", 20, "--out", tmp_path / "more")
    assert "--points is for Gaussian skills" in line


def test_a_missing_replay_is_told_and_the_rest_goes_on(runs, tmp_path, capsys, failed):
    for name in ("low", "high"):
        shutil.copytree(runs / name, tmp_path / name)
    shutil.rmtree(tmp_path / "low" / "replay")
    paths = str(tmp_path / "low"), str(tmp_path / "high")
    assert main(["compose", *paths, "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["observations"] == {"low": 0, "high": 500}
    assert any("skill 'low' has no replay" in line for line in found["warnings"])
    shutil.rmtree(tmp_path / "high" / "replay")
    code, line = failed("compose", *paths, "--correct", "5", "--out", tmp_path / "more")
    assert code == 2
    assert "a divergence correction is learnt from the skills' replay, and none of them has one" in line
    code, line = failed("compose", *paths, "--distil", "5", "--out", tmp_path / "more")
    assert "a distilled actor is learnt" in line
    assert not (tmp_path / "more").exists()


def test_a_run_alone_and_one_of_its_checkpoints_are_allowed(runs, tmp_path):
    checkpoint = sorted((runs / "low" / "checkpoints").glob("0*"))[0]
    arguments = ("--names", "early", "late", "--refine", "2", "--out", str(tmp_path / "a"))
    assert main(["compose", str(checkpoint), str(runs / "low"), *arguments]) == 0
    assert ComposedPolicy.load(tmp_path / "a" / "policy.onnx").composition.refinement == 2
    assert main(["export", str(tmp_path / "a"), "--out", str(tmp_path / "again.onnx")]) == 0
    assert ComposedPolicy.load(tmp_path / "again.onnx").composition.refinement == 2
    assert main(["compose", str(runs / "low"), "--out", str(tmp_path / "b")]) == 0
    assert ComposedPolicy.load(tmp_path / "b" / "policy.onnx").weights.tolist() == [1.0]


MISTAKES = {
    "weights that do not sum to one": (("--weights", "0.5", "0.6"), ["sum 1.1"]),
    "a negative weight": (("--weights", "-0.5", "1.5"), [">= 0"]),
    "weights that are no numbers": (("--weights", "nan", "0.5"), ["weights"]),
    "too few weights": (("--weights", "1"), ["2 skills need as many weights, got 1"]),
    "too many weights": (("--weights", ".2", ".3", ".5"), ["2 skills need as many weights, got 3"]),
    "too few points": (("--points", "2"), ["1 point or at least 3"]),
    "no steps of refinement": (("--refine", "0"), ["--refine", "at least 1"]),
    "temperature zero": (("--temperature", "0"), ["--temperature", "above 0"]),
    "too few names": (("--names", "one"), ["2 skills need as many names, got 1"]),
    "a kind that does not exist": (("--kind", "and"), ["--kind", "conjunction"]),
    "a correction of another kind": (("--kind", "or", "--correct", "5"), ["--correct", "'or'"]),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_one_line(what, runs, failed, tmp_path):
    flags, words = MISTAKES[what]
    code, line = failed("compose", runs / "low", runs / "high", "--out", tmp_path / "out", *flags)
    assert code == 2
    for word in words:
        assert word in line
    assert not (tmp_path / "out").exists()


def refused_at_once(capsys, *arguments):
    """Runs a command that must fail before it learns anything, so that its one line is all that it says."""
    capsys.readouterr()
    assert main([str(argument) for argument in ("compose", *arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_points_that_are_too_few_are_refused_before_anything_is_learnt(runs, tmp_path, capsys):
    flags = ("--points", 2, "--correct", 20, "--out", tmp_path / "out")
    assert "1 point or at least 3" in refused_at_once(capsys, runs / "low", runs / "high", *flags)
    assert not (tmp_path / "out").exists()


def test_a_default_folder_that_cannot_be_written_is_told_before_anything_is_learnt(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("no folder")
    line = refused_at_once(capsys, runs / "low", runs / "high", "--correct", 20)
    assert "cannot write runs/composed-go2/" in line


def test_the_default_folder_is_not_begun_where_the_skills_cannot_share(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "train it with trainer.keep_terms" in refused_at_once(capsys, runs / "low", runs / "high", "--share", 20)
    assert not (tmp_path / "runs").exists()


def test_what_is_no_run_and_what_exists_already_are_said(runs, composed, failed, tmp_path):
    assert "is not a run" in failed("compose", tmp_path, runs / "low")[1]
    assert "is composed already; compose the runs" in failed("compose", composed, runs / "low")[1]
    assert "names of their own, got: low, low" in failed("compose", runs / "low", runs / "low")[1]
    code, line = failed("compose", runs / "low", "--weights", "0.5")
    assert (code, "got [0.5] with sum 0.5" in line) == (2, True)
    for weights, words in ((("0.5", "0.6"), "sum 1.1"), (("nan", "1"), "nan"), (("1",), "got 1: [1.0]")):
        code, line = failed("evaluate", composed, "--weights", *weights)
        assert (code, words in line) == (2, True), line
    assert "exists already" in failed("compose", runs / "low", runs / "high", "--out", composed)[1]
    code, line = failed("evaluate", runs / "low", "--weights", "1", "0")
    assert code == 2
    assert "plain policy" in line


def test_runs_that_do_not_fit_are_refused_with_both_values(runs, failed, tmp_path):
    other = tmp_path / "other"
    arguments = ("--out", str(other), "--sac.discount", "0.9")
    assert main(["train", "stand", "--robot", "go2", *arguments, *TINY]) == 0
    code, line = failed("compose", runs / "low", other, "--out", tmp_path / "out")
    assert code == 2
    assert "differ in discount: 0.97 for 'low', 0.9 for 'other'" in line


def test_shared_experience_changes_the_skills_and_is_in_the_folder(shared, tmp_path):
    policy = ComposedPolicy.load(shared / "both" / "policy.onnx")
    again, plain = tmp_path / "again.onnx", tmp_path / "plain"
    assert main(["export", str(shared / "both"), "--out", str(again)]) == 0
    assert main(["compose", str(shared / "x"), str(shared / "y"), "--out", str(plain)]) == 0
    rows = np.random.default_rng(0).standard_normal((50, policy.contract.observation.size)).astype(np.float32)
    answers = [
        np.stack([one.act(row) for row in rows])
        for one in (policy, ComposedPolicy.load(again), ComposedPolicy.load(plain / "policy.onnx"))
    ]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[0] - answers[2]).max() > 1e-3


def test_a_damaged_file_of_shared_skills_is_named(shared, tmp_path, failed):
    folder = tmp_path / "both"
    shutil.copytree(shared / "both", folder)
    (folder / "shared.safetensors").write_bytes(b"no weights")
    code, line = failed("export", folder, "--out", tmp_path / "out.onnx")
    assert code == 2
    assert "shared.safetensors is damaged" in line


def test_skills_whose_replay_kept_no_terms_cannot_share_it(runs, failed, tmp_path):
    code, line = failed("compose", runs / "low", runs / "high", "--share", 10, "--out", tmp_path / "out")
    assert code == 2
    assert "train it with trainer.keep_terms" in line
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def together(shared):
    """The same two skills with what they are worth together, and steps up its gradient."""
    runs = [str(shared / axes) for axes in ("x", "y")]
    assert main(["compose", *runs, "--joint", "20", "--refine", "2", "--out", str(shared / "together")]) == 0
    return shared / "together"


def test_what_was_learnt_together_is_in_the_folder_and_leaves_one_skill_as_it_is(together, shared, tmp_path, capsys):
    policy = ComposedPolicy.load(together / "policy.onnx")
    assert policy.composition.joint
    assert (policy.composition.points, policy.composition.refinement) == (1, 2)
    assert main(["export", str(together), "--out", str(tmp_path / "again.onnx")]) == 0
    assert main(["compose", str(shared / "x"), str(shared / "y"), "--out", str(tmp_path / "plain")]) == 0
    again, plain = (ComposedPolicy.load(path) for path in (tmp_path / "again.onnx", tmp_path / "plain" / "policy.onnx"))
    rows = np.random.default_rng(0).standard_normal((50, policy.contract.observation.size)).astype(np.float32)
    np.testing.assert_array_equal(policy.answer(rows).action, again.answer(rows).action)
    assert np.abs(policy.answer(rows).action - plain.answer(rows).action).max() > 1e-3
    for weights in np.eye(2):
        policy.weights = plain.weights = weights
        np.testing.assert_allclose(policy.answer(rows).action, plain.answer(rows).action, atol=1e-4)
    assert main(["info", str(together)]) == 0
    assert "with a policy learnt for all weights" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--correct", 5], "--correct has no place beside --joint"),
        (["--points", 4], "--points has no place beside --joint"),
        (["--kind", "or"], "--joint belongs to the conjunction"),
    ],
)
def test_what_does_not_go_with_learning_together_is_refused(flags, words, shared, failed, tmp_path):
    code, line = failed("compose", shared / "x", shared / "y", "--joint", 5, *flags, "--out", tmp_path / "out"
    )
    assert code == 2
    assert words in line
    assert not (tmp_path / "out").exists()


def test_learning_together_needs_replays_that_kept_their_terms(runs, failed, tmp_path):
    code, line = failed("compose", runs / "low", runs / "high", "--joint", 10, "--out", tmp_path / "out")
    assert code == 2
    assert "train it with trainer.keep_terms" in line


def test_a_damaged_file_of_what_was_learnt_together_is_named(together, tmp_path, failed):
    folder = tmp_path / "both"
    shutil.copytree(together, folder)
    (folder / "joint.safetensors").write_bytes(b"no weights")
    code, line = failed("export", folder, "--out", tmp_path / "out.onnx")
    assert code == 2
    assert "joint.safetensors is damaged" in line
