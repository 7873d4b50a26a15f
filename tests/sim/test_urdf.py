"""URDF written from MuJoCo models: masses, joints and what touches what, checked against MuJoCo in PyBullet."""

import mujoco
import numpy as np
import pytest

from robot_rl.errors import ConfigurationError
from robot_rl.spec_file import builtin_robots, load_robot
from sim.mujoco_model import compile_model
from sim.surfaces import fitted_friction, pairs
from sim.urdf import export

pybullet = pytest.importorskip("pybullet", reason="PyBullet is not installed (extra 'pybullet')")


@pytest.fixture
def client():
    number = pybullet.connect(pybullet.DIRECT)
    yield number
    pybullet.disconnect(number)


def loaded(client, tmp_path, model, hold=True):
    """The trees of a model in PyBullet, each with its moving joints and its links by name; free bases held or not."""
    found = []
    for tree in export(model, folder=tmp_path).trees:
        path = tmp_path / f"{tree.root}.urdf"
        path.write_text(tree.text)
        flags = pybullet.URDF_USE_INERTIA_FROM_FILE
        body = pybullet.loadURDF(str(path), useFixedBase=hold or tree.root == 0, flags=flags, physicsClientId=client)
        joints = range(pybullet.getNumJoints(body, client))
        infos = [pybullet.getJointInfo(body, joint, physicsClientId=client) for joint in joints]
        moving = {info[1].decode(): info[0] for info in infos if info[2] != pybullet.JOINT_FIXED}
        links = {info[12].decode(): info[0] for info in infos}
        found.append((tree.root, body, moving, links))
    return found


def random_pose(model, data, rng):
    """Hinges and slides anywhere in their ranges; free bodies at the origin."""
    for joint in range(model.njnt):
        address = model.jnt_qposadr[joint]
        if int(model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_FREE):
            data.qpos[address : address + 7] = [0, 0, 0, 1, 0, 0, 0]
        else:
            lower, upper = model.jnt_range[joint] if model.jnt_limited[joint] else (-1.0, 1.0)
            data.qpos[address] = rng.uniform(lower, upper)
    mujoco.mj_forward(model, data)


def mass_matrix(model, data):
    columns = [np.zeros(model.nv) for _ in range(model.nv)]
    for column, unit in zip(columns, np.eye(model.nv), strict=True):
        mujoco.mj_mulM(model, data, column, unit)
    return np.array(columns) - np.diag(model.dof_armature)


@pytest.mark.parametrize("name", builtin_robots())
def test_the_mass_matrix_is_that_of_mujoco_at_random_poses(name, client, tmp_path):
    model = compile_model(load_robot(name))
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    trees = [tree for tree in loaded(client, tmp_path, model) if tree[2]]
    assert trees
    for _ in range(5):
        random_pose(model, data, rng)
        whole = mass_matrix(model, data)
        for _, body, moving, _ in trees:
            addresses = [model.joint(joint).dofadr[0] for joint in moving]
            positions = [float(data.joint(joint).qpos[0]) for joint in moving]
            ours = np.array(pybullet.calculateMassMatrix(body, positions, physicsClientId=client))
            theirs = whole[np.ix_(addresses, addresses)]
            assert np.abs(ours - theirs).max() < 1e-9 * np.abs(theirs).max()


@pytest.mark.parametrize("name", builtin_robots())
def test_every_body_is_where_mujoco_has_it_at_random_poses(name, client, tmp_path):
    model = compile_model(load_robot(name))
    data, rng = mujoco.MjData(model), np.random.default_rng(1)
    trees = loaded(client, tmp_path, model)
    for _ in range(3):
        random_pose(model, data, rng)
        for root, body, moving, links in trees:
            for joint, index in moving.items():
                pybullet.resetJointState(body, index, float(data.joint(joint).qpos[0]), 0.0, physicsClientId=client)
            for link, index in links.items():
                if root in (0, model.body_rootid[model.body(root).id]) and ":" not in link:
                    at = model.body(link).id
                    centre = pybullet.getLinkState(body, index, 0, 1, physicsClientId=client)[0]
                    assert np.allclose(centre, data.xipos[at], atol=1e-9), link


@pytest.mark.parametrize("name", builtin_robots())
def test_masses_add_up(name, client, tmp_path):
    model = compile_model(load_robot(name))
    for root, body, _, _ in loaded(client, tmp_path, model, hold=False):
        links = range(-1, pybullet.getNumJoints(body, client))
        total = sum(pybullet.getDynamicsInfo(body, link, physicsClientId=client)[0] for link in links)
        if root:
            assert total == pytest.approx(model.body_subtreemass[root], rel=1e-12)
        else:
            free = sum(model.body_subtreemass[b] for b in range(1, model.nbody) if _has_free_joint(model, b))
            assert total == pytest.approx(model.body_subtreemass[0] - free, rel=1e-12)


def _has_free_joint(model, body):
    joint = model.body_jntadr[body]
    return joint >= 0 and int(model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_FREE)


@pytest.mark.parametrize("name", builtin_robots())
def test_the_same_pairs_may_touch_as_in_mujoco(name):
    model = compile_model(load_robot(name))
    ours = set()
    found = export(model)
    surfaces = [*found.surfaces, *(ground.surface for ground in found.grounds)]
    for one, other, touch in pairs(model, surfaces):
        for first in one.geoms if touch else ():
            ours |= {tuple(sorted((model.geom(first).id, model.geom(second).id))) for second in other.geoms}
    found = {tuple(sorted(geoms)) for *geoms, _ in every_possible_contact(model)}
    names = [{tuple(model.geom(g).name for g in pair) for pair in some} for some in (ours - found, found - ours)]
    assert names == [set(), set()]


@pytest.mark.parametrize("name", builtin_robots())
def test_products_of_fitted_friction_are_what_mujoco_has_with_objects_and_the_ground(name):
    model = compile_model(load_robot(name))
    found = export(model)
    surfaces = [*found.surfaces, *(ground.surface for ground in found.grounds)]
    fitted = fitted_friction(model, [(one, other) for one, other, touch in pairs(model, surfaces) if touch])
    of_geom = {model.geom(geom).id: fitted.get(surface.link) for surface in surfaces for geom in surface.geoms}
    compared = 0
    for *geoms, friction in every_possible_contact(model):
        roots = [model.body_rootid[model.geom_bodyid[geom]] for geom in geoms]
        if roots[0] != roots[1]:
            assert of_geom[geoms[0]] * of_geom[geoms[1]] == pytest.approx(friction, rel=1e-6)
            compared += 1
    assert compared


def every_possible_contact(model):
    """Pairs of shapes and their friction as MuJoCo finds them when all are balls that feel each other from afar."""
    model.geom_margin[:] = model.body_margin[:] = 10.0
    model.geom_type[model.geom_type != int(mujoco.mjtGeom.mjGEOM_PLANE)] = int(mujoco.mjtGeom.mjGEOM_SPHERE)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_collision(model, data)
    return [(int(c.geom1), int(c.geom2), float(c.friction[0])) for c in data.contact[: data.ncon]]


@pytest.mark.parametrize("order", [("arm", "free"), ("free", "arm")])
def test_bodies_that_exclude_each_other_never_touch(order):
    assert pairs_of(model_of()) == [("bar", "ball")]
    rest = f"<contact><exclude body1='{order[0]}' body2='{order[1]}'/></contact>"
    assert pairs_of(model_of(rest=rest)) == []


def pairs_of(model):
    """The first shapes of surfaces that may touch."""
    return [(one.geoms[0], other.geoms[0]) for one, other, touch in pairs(model, export(model).surfaces) if touch]


def model_of(body="", rest=""):
    return mujoco.MjModel.from_xml_string(
        f"<mujoco><worldbody><body name='arm'><joint name='elbow' axis='0 1 0'/><geom name='bar' size='.1'/>{body}"
        f"</body><body name='free'><freejoint/><geom name='ball' size='.1'/></body></worldbody>{rest}</mujoco>"
    )


@pytest.mark.parametrize(
    ("body", "rest", "words"),
    [
        ("<body name='b'><joint name='wrist' type='ball'/><geom size='.1'/></body>", "", ["joint 'wrist'", "ball"]),
        ("<body name='b'><joint name='wrist' stiffness='1'/><geom size='.1'/></body>", "", ["joint 'wrist'", "spring"]),
        ("<body name='light' gravcomp='1'><geom size='.1'/></body>", "", ["body 'light'", "gravcomp"]),
        ("<geom name='egg' type='ellipsoid' size='.1 .1 .2'/>", "", ["geom 'egg'", "ellipsoid"]),
        ("<geom name='sole' size='.1' condim='6'/>", "", ["geom 'sole'", "6"]),
        ("", "<equality><weld name='glue' body1='arm' body2='free'/></equality>", ["equality 'glue'", "weld"]),
        ("", "<equality><connect name='pin' body1='arm' anchor='0 0 0'/></equality>", ["equality 'pin'", "world"]),
        ("", "<contact><pair name='special' geom1='bar' geom2='ball'/></contact>", ["pair 'special'"]),
        ("", "<tendon><fixed name='rope'><joint joint='elbow' coef='1'/></fixed></tendon>", ["tendon 'rope'"]),
    ],
)
def test_what_cannot_be_written_is_named(body, rest, words):
    with pytest.raises(ConfigurationError) as error:
        export(model_of(body, rest))
    for word in words:
        assert word in str(error.value)


def test_joints_off_the_frames_origin_and_several_in_a_body_are_placed_right(client, tmp_path):
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><compiler angle='radian'/><worldbody>
        <body name='a' pos='.1 .2 .3' quat='.8 .2 -.4 .4'>
          <joint name='slide' type='slide' axis='1 2 3' ref='.4'/>
          <joint name='turn' axis='0 1 1' pos='.1 -.2 .05' ref='-.7'/>
          <geom size='.05' pos='.1 0 .2' mass='1'/>
          <body name='b' pos='0 .3 .1' quat='.6 0 .8 0'>
            <joint name='swing' axis='1 0 .5' pos='0 .1 0'/><geom type='box' size='.1 .2 .3' pos='.3 .1 0' mass='2'/>
          </body></body></worldbody></mujoco>"""
    )
    data = mujoco.MjData(model)
    ((_, body, moving, links),) = loaded(client, tmp_path, model)
    random_pose(model, data, np.random.default_rng(3))
    for joint, index in moving.items():
        pybullet.resetJointState(body, index, float(data.joint(joint).qpos[0]), 0.0, physicsClientId=client)
    for link in ("a", "b"):
        centre = pybullet.getLinkState(body, links[link], 0, 1, physicsClientId=client)[0]
        assert np.allclose(centre, data.xipos[model.body(link).id], atol=1e-12)
    ours = np.array(
        pybullet.calculateMassMatrix(body, [float(data.joint(j).qpos[0]) for j in moving], physicsClientId=client)
    )
    assert np.allclose(ours, mass_matrix(model, data), rtol=1e-10)


def test_a_mesh_becomes_a_file_that_collides_as_its_hull(client, tmp_path):
    corners = " ".join(f"{x} {y} {z}" for x in (-1, 1) for y in (-1, 1) for z in (-0.5, 0.5))
    model = mujoco.MjModel.from_xml_string(
        f"""<mujoco><asset><mesh name='block' vertex='{corners}'/></asset><worldbody>
        <body name='thing'><freejoint/><geom name='hull' type='mesh' mesh='block'/></body></worldbody></mujoco>"""
    )
    ((_, body, _, _),) = loaded(client, tmp_path, model)
    hit = pybullet.rayTest([0, 0, 5], [0, 0, -5], physicsClientId=client)[0]
    assert hit[0] == body
    assert hit[3][2] == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ConfigurationError, match="hull"):
        export(model)  # without a folder for the file
