"""Workers on Ray: real nodes of a cluster on this machine, of which some are killed."""

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from robot_rl.commands.configuration import resolve
from robot_rl.commands.sweeping import train_there
from robot_rl.commands.training import start
from robot_rl.errors import ConfigurationError, WorkerEnded
from robot_rl.training.metrics import read_metrics
from robot_rl.training.ray_cluster import connected
from robot_rl.training.ray_workers import RaySettings, RayWorkers, train_on_ray
from robot_rl.training.rollout_worker import Order, acting_weights
from robot_rl.training.run import Run
from robot_rl.training.trainer import TrainerSettings
from tests.robot_rl.training.slopes import NotANumber, Slope, descendants, slope_learner

ROOT = Path(__file__).resolve().parents[3]
TRAINER = TrainerSettings(
    total_steps=40_000, start_steps=20, batch_size=8, replay_capacity=1000, checkpoint_interval=40_000, log_interval=50,
    evaluation_interval=50, threads=1, seed=2, chunk_ticks=8,
)  # fmt: skip
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra 'ray')"
)
LISTENING = """
import os
from pathlib import Path
from robot_rl.training.ray_cluster import connected
from tests.robot_rl.training.slopes import descendants

with connected(None, 1) as ray:
    ray.get(ray.remote(num_cpus=1)(lambda: 0).remote())
    own = set()
    for process in {os.getpid(), *descendants()}:
        for open_file in Path(f"/proc/{process}/fd").glob("*"):
            try:
                own.add(os.readlink(open_file))
            except OSError:
                pass  # closed since
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in own:
                print(words[1].split(":")[0])
"""


@pytest.fixture(scope="module")
def cluster():
    """Three nodes with a processor each, on 127.0.0.1."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        # Ray reads these when it is loaded: nodes on 127.0.0.1, no word to its makers, no token in this user's home.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        from ray.cluster_utils import Cluster

        here = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
        started = Cluster(initialize_head=True, head_node_args=here)
        for _ in range(2):
            started.add_node(**here, wait=False)
        yield started
        started.shutdown()


def in_ray(name: str) -> list[int]:
    """Processes of Ray that do what has this name."""
    found = []
    for process in descendants():
        try:
            if name.encode() in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
        except OSError:
            pass  # gone since
    return sorted(found)


def parent(process: int) -> int:
    """The process that started it."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_worker_and_a_node_that_are_killed_are_replaced_and_training_goes_on(cluster, tmp_path, capfd):
    nodes, killed, said = list(cluster.worker_nodes), [], []

    def kill(learner) -> dict[str, float]:
        said.append(capfd.readouterr().err)
        replaced = "".join(said).count("has died and is replaced; its chunk is lost")
        if replaced == 2:
            os.kill(os.getpid(), signal.SIGINT)  # enough
        elif not killed:
            killed.append(in_ray("RolloutWorker")[0])
            os.kill(killed[0], signal.SIGKILL)
        elif replaced == len(killed) == 1 and len(in_ray("RolloutWorker")) == 2:
            # Of the two workers one at least is not on the head, which has to live.
            occupied = {parent(worker) for worker in in_ray("RolloutWorker")}
            killed.append(next(node for node in nodes if node.all_processes["raylet"][0].process.pid in occupied))
            cluster.remove_node(killed[1], allow_graceful=False)
        return {}

    run = Run.create(tmp_path / "run", {})
    result = train_on_ray(Slope, slope_learner, TRAINER, RaySettings(2, cluster.address), run, kill)
    assert (result.interrupted, result.updates, len(killed)) == (True, result.steps - 20, 2)
    lines = [line for line in read_metrics(run.metrics) if "rollout/weights_age" in line]
    assert lines[-1]["rollout/workers_lost"] == 2
    ages = [line["rollout/weights_age"] for line in lines]
    assert 8 / 2 <= np.median(ages) <= 4 * 8  # chunks of 8, of two workers that take turns more or less
    # Gone on with from the checkpoint; what goes wrong there, at the 30th step, is said here after another one.
    more = dataclasses.replace(TRAINER, evaluation_interval=0)
    with pytest.raises(WorkerEnded, match=r"worker \d: reward.*nan") as caught:
        train_on_ray(NotANumber, slope_learner, more, RaySettings(1, cluster.address), run)
    assert caught.value.exit_code == 2
    before, last = sorted(int(path.name) for path in run.checkpoints.glob("0*"))
    assert before == result.steps
    assert result.steps + 24 <= last < result.steps + 32  # what was left of a chunk, and three more


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_a_run_of_a_sweep_whose_process_is_killed_goes_on_from_its_checkpoint_in_another_one(cluster, tmp_path):
    values = {
        "robot": "go2", "task": {"name": "stand"}, "sac": {"hidden_sizes": [8]},
        "trainer": {"total_steps": 1500, "start_steps": 1000, "batch_size": 8, "checkpoint_interval": 100, "threads": 1,
                    "log_interval": 100, "evaluation_interval": 0},
    }  # fmt: skip
    folder, ended = start(resolve(values, "here"), ["sweep"], tmp_path / "run"), []

    def kill() -> None:
        while not (folder / "checkpoints" / "latest").exists():
            time.sleep(0.01)
        for process in in_ray("train_quietly"):
            os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    train_there([folder], cluster.address, 1, lambda folder, code: ended.append((folder, code)))
    killer.join()
    assert ended == [(folder, 0)]
    said = (folder / "output.log").read_text()
    assert said.count("training stand on go2") == 2
    assert "resumed at step" in said
    assert (folder / "policy.onnx").is_file()


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_worker_explores_as_no_other_one_did_before_a_resumption_either(cluster):
    weights = {name: np.zeros_like(array) for name, array in acting_weights(slope_learner()).items()}
    weights["normalizer/scale"] += 1.0  # so that an action is the tanh of the noise, whatever is observed
    order = Order(weights, 0, 8, np.zeros((0, 1, 1), np.float32))
    settings, first = dataclasses.replace(TRAINER, start_steps=0), []
    with connected(cluster.address, 1) as ray:
        saved = None
        for _ in range(2):
            workers = RayWorkers(ray, Slope, slope_learner, settings, RaySettings(1))
            try:
                if saved is None:
                    workers.restart(settings.seed)
                else:
                    workers.load_state(saved, settings.seed)
                first.append(workers.exchange(lambda ahead: order, False).rows.action)
                saved = workers.state()
            finally:
                workers.close()
    assert (first[0] != first[1]).all()


@needs_ray
@pytest.mark.slow
def test_ray_started_here_listens_on_this_machine_alone(tmp_path):
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}  # of the cluster above
    environment = {**others, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LISTENING], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    addresses = set(done.stdout.split())
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, in both tables of the kernel
    assert addresses
    assert (tmp_path / ".ray" / "auth_token").stat().st_size > 0


def test_without_ray_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="extra 'ray'"):
        train_on_ray(Slope, slope_learner, TRAINER, RaySettings(workers=1))


@pytest.mark.parametrize(("given", "names"), [({"workers": -1}, "workers"), ({"cpus_per_worker": 0.0}, "cpus")])
def test_settings_that_cannot_work_are_refused_by_name(given, names):
    with pytest.raises(ConfigurationError, match=f"ray: {names}"):
        RaySettings(**given)
