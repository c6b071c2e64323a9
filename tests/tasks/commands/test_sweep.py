"""The sweep: which trainings it has, what it makes of them, and that it can be ended, gone on with, and survive failures."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest

from tasks.commands.sweep import measures, picture, plan, tables
from tasks.commands.sweep.__main__ import command
from tasks.commands.sweep.jobs import Job, Pool, shared_gpu
from tasks.evaluation.page.runs import Group, load_run
from tasks.grasp.rewards import resolve

ROOT = Path(__file__).resolve().parents[3]


def planned(vary: Sequence[str] = (), variants: Sequence[str] = (), grid: bool = False, base: str = "") -> List[Any]:
    return plan.combinations([words.split("|") for words in vary], variants, grid, ["--sim", "mujoco", *base.split()])


def test_one_option_at_a_time_or_all_with_all() -> None:
    vary = ("ppo.learning-rate|1e-4|3e-4", "--ppo.num_steps|8|4")
    names = [c.name for c in planned(vary)]
    assert names == ["ppo.learning-rate 1e-4", "ppo.learning-rate 3e-4", "ppo.num-steps 8", "ppo.num-steps 4"]
    found = planned(vary, grid=True)
    rates = [(c.args.trainer.ppo.learning_rate, c.args.trainer.ppo.num_steps) for c in found]
    assert rates == [(1e-4, 8), (1e-4, 4), (3e-4, 8), (3e-4, 4)]
    assert found[1].name == "ppo.learning-rate 1e-4, ppo.num-steps 4" and len({c.folder for c in found}) == 4


def test_a_value_stands_after_what_all_have_and_may_have_several_words() -> None:
    vary = ("reward-weights|contact 1.0|action_rate -0.05", "amp|on|off", "ppo.clip-value-loss|true|no")
    found = planned(vary, ["fine: --physics.timestep 0.008 --physics.substeps 4"], base="--preset recipe --no-amp")
    assert [c.args.task.reward_weights for c in found[:2]] == [{"contact": 1.0}, {"action_rate": -0.05}]
    assert [c.args.trainer.amp for c in found[2:4]] == [True, False]
    assert [c.args.trainer.ppo.clip_value_loss for c in found[4:6]] == [True, False]
    assert (found[6].name, found[6].args.physics.substeps) == ("fine", 4)
    assert all(c.args.preset == "recipe" for c in found)
    assert [found[i].folder for i in (0, 2, 6)] == ["reward-weights=contact_1.0", "amp=on", "fine"]


def test_the_published_cures_can_be_given_to_the_recipe() -> None:
    vary = (
        "ppo.learning-rate|1e-4",
        "ppo.entropy-coef|0.01",
        "reward-weights|contact 1.0|action_rate -0.05",
        "reward-scale|0.1",
    )
    found = planned(vary, ["120 Hz: --physics.timestep 0.008333333333 --physics.substeps 4"], base="--preset recipe")
    ppos, tasks = [c.args.trainer.ppo for c in found], [c.args.task for c in found]
    assert (ppos[0].learning_rate, ppos[1].entropy_coef, tasks[4].reward_scale) == (1e-4, 0.01, 0.1)
    weights = [{t.name: t.weight for t in resolve(task.reward, task.reward_weights)} for task in tasks[2:4]]
    assert (weights[0]["contact"], weights[1]["action_rate"]) == (1.0, -0.05)
    assert found[5].args.physics.control_dt == pytest.approx(1 / 30) and found[5].args.physics.substeps == 4
    assert all(ppo.normalize_at == "step" and task.reward == "recipe" for ppo, task in zip(ppos, tasks))


def test_the_same_settings_are_trained_once(tmp_path: Path) -> None:
    """Where an option is at its default, all options are."""
    found = planned(("ppo.learning-rate|1e-4|3e-4", "ppo.num-steps|8|4"))
    assert [c.folder for c in found].count(found[1].folder) == 2 and found[1].folder == found[2].folder
    trainings = plan.trainings(found, (0, 1, 0), tmp_path)
    assert [t.seed for t in trainings] == [0, 0, 0, 1, 1, 1], "all come with the first seed first"
    assert trainings[0].words[-6:] == ["--seed", "0", "--run-dir", str(trainings[0].run_dir), "--resume", "auto"]


@pytest.mark.parametrize(
    ("vary", "variants", "base", "said"),
    [
        ("ppo.learning-rat|1", "", "", "unknown option --ppo.learning-rat 1: did you mean --ppo.learning-rate?"),
        ("ppo.learning-rate|1e-4|x", "", "", "--ppo.learning-rate x: must be a number"),
        ("ppo.learning-rate|0", "", "", "--ppo.learning-rate 0: must be greater than 0"),
        ("ppo.learning-rate", "", "", "--vary ppo.learning-rate: give its values, too"),
        ("objects|nothing", "", "", "--objects nothing: choose from"),
        ("physx.contact-offset|0.1", "", "", "--physx.contact-offset: is an option of --sim physx"),
        ("amp|perhaps", "", "", "--vary amp perhaps: must be on or off"),
        ("seed|1", "", "", "--vary seed: the sweep sets that itself; give --seeds"),
        ("amp|on", "", "--run-dir x", "after -- run-dir: the sweep sets that itself; give --out"),
        ("amp|on|on", "", "", "amp on: is asked for twice"),
        ("amp|on", "no colon", "", "--variant no colon: write it as 'NAME: OPTIONS'"),
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_is(
    vary: str, variants: str, base: str, said: str, capsys: pytest.CaptureFixture
) -> None:
    try:
        planned([vary], [variants] if variants else [], base=base)
    except ValueError as error:
        text = str(error)
    except SystemExit as stop:
        assert stop.code == 2
        text = capsys.readouterr().err
    assert said in text and len(text.strip().splitlines()) == 1


def a_run(folder: Path, held: Sequence[Optional[float]], seed: int = 0) -> Any:
    """A row of metrics each second and million steps, with an evaluation where there is a value."""
    folder.mkdir(parents=True)
    rows = []
    for i, value in enumerate(held, 1):
        measured = {} if value is None else {"eval_success_rate": value, "eval_still_success_rate": value / 2}
        rows.append({"iteration": i, "env_steps": i * 1_000_000, "wall_s": float(i), **measured})
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "config.json").write_text(json.dumps({"trainer": {"seed": seed}}))
    return load_run(folder)


def test_what_trainings_reached_and_how_sure_that_is(tmp_path: Path) -> None:
    curves: Tuple[Sequence[Optional[float]], ...] = (
        [0.0, 0.1, None, 0.85, 0.9],
        [0.0, None, 0.2, 0.5, 0.8],
        [0.3, 0.9, 0.8, 0.9, 1.0],
    )
    each = [measures.reached(a_run(tmp_path / str(i), held), 100, []) for i, held in enumerate(curves)]
    assert [t["steps_to"]["first_grasps"] for t in each] == [2_000_000, 3_000_000, 1_000_000]
    assert [t["seconds_to"]["good"] for t in each] == [4.0, None, 2.0]
    found = measures.summary(each)
    held = found["measured"][""]["held"]
    assert held["values"] == [0.9, 0.8, 1.0] and held["mean"] == pytest.approx(0.9)
    half = 4.302653 * 0.1 / math.sqrt(3)  # Student's t with two degrees of freedom, from a printed table
    assert (held["low"], held["high"]) == (pytest.approx(0.9 - half), 1.0), "no share is above 1"
    assert found["measured"][""]["still"]["mean"] == pytest.approx(0.45)
    good = found["steps_to"]["good"]
    assert good["values"] == [4_000_000, None, 2_000_000] and good["mean"] == 3_000_000
    assert tables.first_time(good, 1e-6, "{:.1f}") == "3.0, 2 of 3 seeds"

    (one,) = measures.summary(each[1:2])["measured"].values()
    assert one["held"]["interval"] == "wilson"
    assert one["held"]["low"] == pytest.approx(0.7111, abs=1e-4)  # Wilson's formula for 80 of 100
    assert tables.interval(one["held"], 100, "{:.1f}") == "80.0 (71.1 to 86.7)"


def test_evaluations_take_the_place_of_the_running_one(tmp_path: Path) -> None:
    run, files = a_run(tmp_path / "a", [0.5]), []
    for name, held in (("mixed", 0.25), ("holdout", 0.75)):
        content = {"objects": name, "success_rate": held, "still_success_rate": 0.0, "num_episodes": 40}
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(content))
    found = measures.summary([measures.reached(run, 100, files)])["measured"]
    assert {name: rates["held"]["mean"] for name, rates in found.items()} == {"mixed": 0.25, "holdout": 0.75}


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (9, 2.2622)])
def test_student_t(freedom: int, quantile: float) -> None:
    assert measures.student_t(freedom) == pytest.approx(quantile, abs=1e-4)


def test_the_picture_and_the_table_show_every_combination(tmp_path: Path) -> None:
    rows: List[Dict[str, Any]] = []
    groups = {}
    for name, value in (("ppo.learning-rate", "1e-4"), ("ppo.learning-rate", "1e-3"), ("variant", "fine [1]")):
        runs = [a_run(tmp_path / f"{value}-{s}", [0.1 * s, 0.5, 0.9 + 0.01 * s], s) for s in range(2)]
        row: Dict[str, Any] = {"name": f"{name} {value}", "varied": {name: value}, "seeds": [0, 1], "failed": []}
        rows.append({**row, **measures.summary([measures.reached(run, 100, []) for run in runs])})
        groups[f"{name} {value}"] = Group(runs, value)
    rows.append(
        {**rows[-1], "name": "none", "varied": {"variant": "none"}, "measured": {}, "failed": ["seed 0: error: x"]}
    )
    assert [(title, len(members)) for title, members in picture.panels(rows)] == [
        ("ppo.learning-rate", 2),
        ("variant", 2),
    ]
    picture.draw(rows, groups, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    table = tables.results(rows, "title")
    assert table.row_count == 4 and tables.failures(rows) == ["failed: none, seed 0: error: x"]


def job(name: str, script: str, folder: Path, **more: str) -> Job:
    return Job(name, {"training": ["-c", script], **{k: ["-c", v] for k, v in more.items()}}, folder / f"{name}.log")


def run_all(pool: Pool) -> List[Job]:
    ended: List[Job] = []
    while pool.waiting or pool.running:
        ended += pool.poll()
        time.sleep(0.02)
    return ended


def test_a_job_ends_with_its_first_failure_and_others_go_on(tmp_path: Path) -> None:
    bad = "import sys; print('error: fell'); print('last words'); sys.exit(3)"
    jobs = [
        job("bad", bad, tmp_path, measuring="print('never')"),
        job("good", "print(1)", tmp_path, measuring="print(2)"),
    ]
    (tmp_path / "bad.log").write_text("error: of an earlier call\n")
    ended = {j.name: j for j in run_all(Pool(jobs, 1, dict(os.environ)))}
    assert (ended["bad"].status, ended["bad"].done, ended["bad"].failure()) == (3, 0, "error: fell")
    assert (ended["good"].status, ended["good"].done, ended["good"].failure()) == (0, 2, "")
    assert (tmp_path / "good.log").read_text() == "1\n2\n"
    killed = job("killed", "import os; print('so far'); os.kill(os.getpid(), 9)", tmp_path)
    run_all(Pool([killed], 1, dict(os.environ)))
    assert killed.failure() == "ended by SIGKILL: so far" or killed.failure() == "ended by SIGKILL, without a word"


def test_what_does_not_end_when_asked_is_killed(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    pool = Pool([job("deaf", deaf, tmp_path)], 1, dict(os.environ))
    pool.poll()
    (running,) = pool.running
    while "deaf" not in running.log.read_text():
        time.sleep(0.02)
    pool.end(urgent=lambda: True)
    assert running.poll() == -signal.SIGKILL and not pool.running


def test_places_share_gpus_and_cores(tmp_path: Path) -> None:
    script = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'), len(os.sched_getaffinity(0)))"
    jobs = [job(str(i), script, tmp_path) for i in range(3)]
    pool = Pool(
        jobs, 2, {**os.environ, "CUDA_VISIBLE_DEVICES": "5,7"}, gpus=["5", "7"], pin=hasattr(os, "sched_setaffinity")
    )
    run_all(pool)
    said = [(tmp_path / f"{i}.log").read_text().split()[0] for i in range(3)]
    assert said[:2] == ["5", "7"] and said[2] in said[:2]


def test_a_shared_gpu_has_a_server_of_its_own_for_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control, said = tmp_path / "nvidia-cuda-mps-control", tmp_path / "said"
    control.write_text(f'#!/bin/sh\nif [ "$1" = -d ]; then echo start >> {said}; else cat >> {said}; fi\n')
    control.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(KeyboardInterrupt), shared_gpu(True) as environment:
        assert Path(environment["CUDA_MPS_PIPE_DIRECTORY"]).is_dir()
        assert said.read_text() == "start\n"
        raise KeyboardInterrupt
    assert said.read_text() == "start\nquit\n"
    with shared_gpu(False) as environment:
        assert environment == dict(os.environ)


def test_ended_and_gone_on_with_and_one_training_fails(
    tiny: Tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """SIGTERM ends the trainings, too.  The same command goes on with them, and measures.  What fails is told, and stops nothing."""
    pytest.importorskip("mujoco.batch", reason="needs MuJoCo 4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = [
        "--vary",
        "num-envs",
        "4",
        str(10**6),
        "--jobs",
        "2",
        "--seeds",
        "3",
        "--evaluate",
        "2",
        "--out",
        "out",
        "--",
    ]
    words += [*map(str, tiny), "--total-timesteps"]
    run_dir = tmp_path / "out" / "num-envs=4" / "seed3"
    metrics = run_dir / "metrics.jsonl"

    def steps() -> List[int]:
        return [json.loads(line)["env_steps"] for line in metrics.read_text().splitlines()] if metrics.exists() else []

    def again(*more: str) -> Tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            command([*words, *more])
        said = capfd.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, said.out, said.err

    begin = [sys.executable, "-m", "tasks.commands.sweep", *words, str(10**9)]
    first = subprocess.Popen(begin, stdout=-1, stderr=-1, text=True)
    while len(steps()) < 3:
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    child = int((run_dir / ".lock").read_text())
    first.send_signal(signal.SIGTERM)
    out, err = first.communicate(timeout=60)
    assert first.returncode == 128 + signal.SIGTERM and not err
    assert "ended by SIGTERM: the same command goes on" in out
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)

    last = len(steps())
    status, out, err = again(str(32 * (last + 1)))
    assert status == 1 and not err
    assert steps() == [32 * (i + 1) for i in range(last + 1)]
    failed = f"failed: num-envs {10**6}, seed 3: error: --num-envs {10**6}: "
    assert failed in out and "held on primitives, %" in out
    good, bad = json.loads((tmp_path / "out" / "sweep.json").read_text())["rows"]
    assert good["measured"]["primitives"]["held"]["interval"] == "wilson" and not good["failed"]
    assert len(bad["failed"]) == 1 and not bad["runs"] and (tmp_path / "out" / "sweep.png").exists()

    status, _, err = again(str(32 * (last + 1)), "--seed", "3")
    assert status == 2 and err.startswith("error: after -- seed: the sweep sets that itself")
    status, _, err = again(str(32 * (last + 1)), "--ppo.gamma", "0.5")
    assert status == 2 and "was trained with other options (trainer.ppo.gamma: now 0.5" in err
