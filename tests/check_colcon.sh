#!/usr/bin/env bash
# Builds the repository with colcon, once as copies and once as links, in an environment of its own, and runs what came of it.
# Takes a minute or more and needs a package index; so it is no part of the tests. Usage: tests/check_colcon.sh [python3.x]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

echo "colcon: making an environment with $("$python" --version)"
"$python" -m venv "$place/venv"
# numpy and pyyaml are what robot_rl itself needs; the rest is colcon, which wants setuptools below 80.
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" \
  numpy pyyaml "setuptools<80" colcon-core colcon-ros colcon-python-setup-py colcon-output colcon-package-selection

fail() { echo "colcon: $*" >&2; exit 4; }

check() {  # name of the build, flags for colcon
  local workspace=$place/$1; shift
  mkdir -p "$workspace/src/robot_rl"
  # What is tracked and what is new, as it is now.
  (cd "$root" && git ls-files -co --exclude-standard -z | while IFS= read -r -d '' name; do
    [ -e "$name" ] && printf '%s\0' "$name"; done | tar c --null -T - ) | tar x -C "$workspace/src/robot_rl"
  cd "$workspace"
  # Warnings of the deprecated setup.py commands, which colcon still calls, are not ours.
  PATH="$place/venv/bin:$PATH" PYTHONWARNINGS=ignore colcon build --event-handlers console_direct- "$@" >build.log 2>&1 \
    || { cat build.log >&2; fail "build $* failed"; }
  grep -q "1 package finished" build.log || { cat build.log >&2; fail "no package was built"; }
  local install=$workspace/install/robot_rl share=$workspace/install/robot_rl/share
  for path in "$share/ament_index/resource_index/packages/robot_rl" "$share/robot_rl/package.xml" \
    "$share"/robot_rl/launch/{twin,policy,train}.launch.py "$install/lib/robot_rl/robot-rl"; do
    [ -e "$path" ] || fail "missing: ${path#"$workspace"/}"
  done
  (
    cd "$place"
    set +u
    . "$workspace/install/local_setup.sh"
    set -u
    [ "$("$install/lib/robot_rl/robot-rl" list robots | grep -cE '^ *(go2|minitaur|dclaw|leap_hand) ')" = 4 ] \
      || fail "robot-rl of the workspace does not list the robots"
    "$place/venv/bin/python" - "$workspace" "$share" <<'PYTHON' || fail "what was installed is not whole"
import sys
from pathlib import Path

import hardware, policies, robot_rl, sim
from robot_rl.commands.launching import LAUNCHES, programs
from robot_rl.spec_file import builtin_robots, load_robot

workspace, share = map(Path, sys.argv[1:])
for package in (hardware, policies, robot_rl, sim):
    assert workspace in Path(package.__file__).parents, f"{package.__name__} comes from {package.__file__}"
assert Path(hardware.__file__).with_name("loopback.xml").is_file()
for name in builtin_robots():
    assert Path(load_robot(name).simulation.model).is_file(), name
for name in LAUNCHES:
    assert programs(name, {}), name
    compile((share / "robot_rl" / "launch" / f"{name}.launch.py").read_text(), name, "exec")
PYTHON
  )
  echo "colcon build${*:+ $*}: built, listed its robots, found its models, policies and launch files"
}

check copies
check links --symlink-install
