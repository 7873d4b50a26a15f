"""The record of metrics and the plot of it."""

from pathlib import Path

import pytest

from robot_rl.errors import StorageError
from robot_rl.training.metrics import MetricsLog, mean_metrics, plot_learning_curve, read_metrics


def test_lines_come_back_and_numbers_that_are_not_finite_are_null(tmp_path: Path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write(1, {"return": 2.5, "loss": float("nan")})
    log.write(2, {"return": float("inf")})
    log.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "return": 2.5, "loss": None},
        {"step": 2, "return": None},
    ]


def test_lines_after_the_checkpoint_are_cut_when_a_run_is_resumed(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write(1, {"a": 1.0})
    size = log.sync()
    log.write(2, {"a": 2.0})
    log.close()
    log = MetricsLog(path, size=size)
    log.write(3, {"a": 3.0})
    log.close()
    assert [line["step"] for line in read_metrics(path)] == [1, 3]


def test_a_record_shorter_than_the_checkpoint_says_is_refused(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(StorageError, match="3 bytes, the checkpoint was made at 10"):
        MetricsLog(tmp_path / "metrics.jsonl", size=10)


def test_a_last_line_cut_by_a_crash_is_left_out_and_a_damaged_one_before_it_is_refused(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"ste')
    assert read_metrics(path) == [{"step": 1}]
    path.write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(StorageError, match="line 2"):
        read_metrics(path)


def test_mean_metrics_average_each_name_over_those_who_have_it():
    assert mean_metrics([{"a": 1.0, "b": 4.0}, {"a": 3.0}], "x/") == {"x/a": 2.0, "x/b": 4.0}
    assert mean_metrics([]) == {}


@pytest.mark.parametrize("lines", [0, 1, 20])
def test_the_learning_curve_is_a_readable_picture(tmp_path: Path, lines: int):
    path, picture = tmp_path / "metrics.jsonl", tmp_path / "plots" / "curve.png"
    log = MetricsLog(path)
    for index in range(lines):
        log.write(1000 * index, {"training/return": index * 2.0, "evaluation/return": index * 2.5})
    log.close()
    plot_learning_curve(path, picture, title="walk, go2", references=[("standing", 10.0)])
    from matplotlib.image import imread

    assert imread(picture).shape == (540, 960, 4)
    assert [p.name for p in picture.parent.iterdir()] == ["curve.png"]
