"""The options of training, and their defaults for a machine and a preset."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional, Sequence

import tyro
from typing_extensions import Annotated

from ppo_grasp import PPOCfg, TrainerCfg
from ppo_grasp.actor_critic import ActorCriticCfg
from tasks.commands.options import given
from tasks.grasp.config import GraspCfg
from tasks.grasp.config import check as check_task
from tasks.grasp.randomisation.config import RandomCfg
from tasks.objects import DENSITY, MAX_PARTS
from tasks.simulators import registry
from tasks.simulators.mujoco.scene import PhysicsCfg
from tasks.simulators.registry import SimulatorName

Flat = tyro.conf.arg(name="")
FromTask = Annotated[int, tyro.conf.Fixed, tyro.conf.Suppress]

COMMON = {
    "What grasps, and what is grasped": (
        *("--hand", "--objects", "--object-scale", "--object-density", "--skip-bad-objects", "--sim", "--num-envs"),
    ),
    "How long to train, and where everything is written": (
        *("--total-timesteps", "--max-minutes", "--run-dir", "--config", "--resume", "--init-policy"),
    ),
    "What is learnt, and how": (
        *(
            "--preset",
            "--control-hz",
            "--reward",
            "--reward-weights",
            "--lift-height",
            "--hold-time",
            "--curriculum",
            "--seed",
        ),
        *("--ppo.num-steps", "--ppo.minibatch-size", "--ppo.learning-rate"),
    ),
    "How it is measured meanwhile": ("--eval-objects", "--eval-envs", "--eval-interval", "--video-every", "--wandb"),
}
"""What `--help` shows, by title; `--help-all` shows all options."""


@dataclass
class NetworkArgs(ActorCriticCfg):
    """The networks."""

    num_obs: FromTask = 0
    num_critic_obs: FromTask = 0
    num_actions: FromTask = 0


@dataclass
class TrainerArgs(TrainerCfg):
    """How long to train, what to write when, and how to run it."""

    network: NetworkArgs = field(default_factory=NetworkArgs)
    """The networks."""


@dataclass
class _TrainArgs:
    """Train a hand to grasp."""

    num_envs: int = 4096
    """Hands in parallel; of each process, if torchrun starts several."""
    sim: SimulatorName = "auto"
    """The physics.  auto: MuJoCo Warp on a GPU, MuJoCo C without one."""
    objects: str = "everyday"
    """A named object set, or a directory of .obj, .stl or .ply files, one object each."""
    object_count: Optional[int] = None
    """How many of --objects to take, from the first on; a generated set may get more than it has.  --eval-objects stays whole."""
    eval_objects: Optional[str] = None
    """The objects of the running evaluation; by default those of --objects."""
    object_scale: float = 1.0
    """Metres in one unit of the meshes in a directory: 0.001 for meshes in millimetres."""
    object_density: float = DENSITY
    """kg/m^3 of the meshes in a directory.  A full bottle has 300 to 1000, an empty one 50 to 200."""
    object_parts: int = MAX_PARTS
    """Most convex parts that a mesh of a directory is cut into.  More follow its shape better, and cost time in every step."""
    skip_bad_objects: bool = False
    """Leave out meshes that cannot be used, with a warning for each."""
    hand: str = "shadow"
    """The hand."""
    run_dir: Optional[Path] = None
    """Where everything is written; by default runs/DATE-TIME."""
    config: Optional[Path] = None
    """The config.json of a run, or the run, whose settings to repeat: each is the default of its option.  The new run gets a
    directory of its own."""
    resume: Optional[str] = None
    """The checkpoint, or the run, to go on with.  auto: the last checkpoint in --run-dir, or without --run-dir the newest in
    runs/; training starts anew if there is none."""
    init_policy: Optional[Path] = None
    """A policy to start from instead of random networks, such as checkpoints/shadow_grasp.pt.  The networks get its sizes.  It
    is not used where --resume finds a run."""
    preset: Literal["default", "recipe", "sim2real"] = "default"
    """recipe: the published reward, curriculum, PPO and PhysX settings, instead of those that train best, with start states and limits
    of ours; as published with --start.grasp-fraction 0 --max-stray 0 --ppo.max-kl None.  sim2real: for a robot: all
    disturbances, which grow with success, inputs that a robot has, and pay for gentle drives."""
    control_hz: Literal[15, 30, 60] = 30
    """Control steps a second.  It sets the defaults of --physics.substeps, --episode-steps, --base-step, --base-turn,
    --finger-smoothing, --ppo.gamma and --ppo.lam, so that they mean the same in seconds."""
    eval_envs: int = 512
    """Episodes of one running evaluation."""
    video_every: Optional[int] = None
    """Environment steps between two videos of the policy, which another process makes beside the training, into runs/NAME/videos
    and TensorBoard: at the first evaluation after so many steps.  None: no videos."""
    wandb: bool = False
    """Also send settings, metrics, videos and evaluations to Weights & Biases.  WANDB_ENTITY says to whose account, and
    WANDB_MODE=offline keeps them in the run's directory."""
    wandb_project: Optional[str] = None
    """The project there; by default WANDB_PROJECT, or ppo-grasp."""
    wandb_name: Optional[str] = None
    """The run's name there; by default WANDB_NAME, or that of the run's directory."""
    trainer: Annotated[TrainerArgs, Flat] = field(default_factory=TrainerArgs)
    task: Annotated[GraspCfg, Flat] = field(default_factory=GraspCfg)


if TYPE_CHECKING:

    @dataclass
    class TrainArgs(_TrainArgs):
        """With the settings of each simulator, whose names the registry has."""

        physics: PhysicsCfg = PhysicsCfg()  # noqa: RUF009 frozen
else:
    TrainArgs = make_dataclass(
        "TrainArgs",
        [
            (prefix.replace("-", "_"), kind, field(default_factory=kind))
            for prefix, kind in registry.settings_types().items()
        ],
        bases=(_TrainArgs,),
        namespace={"__doc__": _TrainArgs.__doc__, "__module__": __name__},
    )


def defaults(words: Sequence[str]) -> TrainArgs:
    """The defaults for this machine, and for the preset and the simulator that the command line names."""
    sim, preset = given(words, "--sim") or registry.AUTO, given(words, "--preset")
    args = TrainArgs()
    if preset == "recipe":
        args.task = replace(args.task, reward="recipe", curriculum="recipe", max_stray=0.06)
        args.trainer.ppo, args.trainer.amp, args.trainer.privileged_critic = PPOCfg.recipe(), False, False
        args.trainer.ppo.max_kl = 0.05  # without a limit, updates go too far and lose up to 30 points
        args.trainer.network.distribution, args.trainer.network.init_std = "gaussian", 1.0
        for name, settings in registry.recipe_settings().items():
            setattr(args, name, settings)
    elif preset == "sim2real":
        seen = ("proprioception+pose",)
        args.task = replace(args.task, reward="sim2real", hidden_inputs=seen, history=4, random=RandomCfg.sim2real())
        args.trainer.total_timesteps = 150_000_000
    known = sim in (registry.AUTO, *registry.names())  # of another, the parser of the options says so
    if known and not registry.choose(sim).swaps_objects:
        args.task = replace(args.task, random=args.task.random.in_fixed_worlds())
    if known and registry.choose(sim).has_few_hands():
        _for_few_hands(args, preset or "default")
    hz = given(words, "--control-hz")
    if hz in ("15", "60"):
        _at_rate(args, int(hz))
    return args


def _at_rate(args: TrainArgs, hz: int) -> None:
    """Changes the defaults, which are for 30 control steps a second, to those for another rate."""
    longer = 30 / hz
    task, random, ppo = args.task, args.task.random, args.trainer.ppo

    def steps(count: int) -> int:
        return max(1, round(count / longer)) if count else 0

    args.task = replace(
        task,
        episode_steps=steps(task.episode_steps),
        base_step=task.base_step * longer,
        base_turn=task.base_turn * longer,
        finger_smoothing=task.finger_smoothing**longer,
        random=replace(
            random,
            pose_every=steps(random.pose_every) if random.pose_every > 1 else 1,
            occlusion_steps=steps(random.occlusion_steps),
            action_delay=steps(random.action_delay),
            action_jitter=steps(random.action_jitter),
        ),
    )
    ppo.gamma, ppo.lam = ppo.gamma**longer, ppo.lam**longer
    for name, kind in registry.settings_types().items():
        own = name.replace("-", "_")
        settings = getattr(args, own)
        if "control_dt" in {f.name for f in fields(kind)}:
            setattr(args, own, replace(settings, control_dt=1 / hz))
        else:
            setattr(args, own, replace(settings, substeps=round(settings.substeps * longer)))


def _for_few_hands(args: TrainArgs, preset: str) -> None:
    """Changes the defaults to those for a few hundred hands on a processor."""
    args.objects, args.num_envs, args.eval_envs = "primitives", 256, 64
    if preset != "recipe":
        # Few hands may find no grasp for long, or learn to lift too high and never come down again.
        start = replace(args.task.start, pregrasp_fraction=0.8)
        args.task = replace(args.task, start=start)
    if preset == "default":
        args.task = replace(args.task, reward="level")
    # The update is a third of the time here: coarse steps of the physics save little, and few hands learn less with them.
    args.physics = replace(args.physics, timestep=1 / 120, substeps=4, integrator="implicitfast")
    args.trainer.total_timesteps = 3_000_000
    args.trainer.eval_interval = args.trainer.checkpoint_interval = 200_000
    args.trainer.ppo.minibatch_size = 512
    args.trainer.network.actor_hidden = args.trainer.network.critic_hidden = (256, 128)


def settings_of(args: TrainArgs, entry: registry.SimulatorEntry) -> Any:
    """The settings of a simulator, as the command line has them."""
    return getattr(args, entry.settings_field)


MOST_LAYERS = 16
"""Hidden layers of a network."""
LONGEST_STEP = 0.2
"""s, of a control step."""


def check_together(args: TrainArgs, entry: registry.SimulatorEntry) -> None:
    """Raises ValueError for values that are in their ranges, but exclude each other.  entry: the simulator."""
    ppo, network, settings = args.trainer.ppo, args.trainer.network, settings_of(args, entry)
    if ppo.min_learning_rate > ppo.max_learning_rate:
        raise ValueError(
            f"--ppo.min-learning-rate {ppo.min_learning_rate:g}: is above --ppo.max-learning-rate, {ppo.max_learning_rate:g}"
        )
    if network.distribution == "tanh" and not network.min_std < network.init_std < network.max_std:
        raise ValueError(
            f"--network.init-std {network.init_std:g}: must lie between --network.min-std, {network.min_std:g}, and "
            f"--network.max-std, {network.max_std:g}"
        )
    for name in ("actor_hidden", "critic_hidden"):
        if len(getattr(network, name)) > MOST_LAYERS:
            raise ValueError(f"--network.{name.replace('_', '-')}: at most {MOST_LAYERS} layers")
    if settings.control_dt > LONGEST_STEP:
        raise ValueError(
            f"--{entry.prefix}: a control step would be {settings.control_dt:g} s; at most {LONGEST_STEP:g} s are sensible"
        )
    low, high = getattr(settings, "friction", (0, 0))
    if low > high:
        raise ValueError(f"--{entry.prefix}.friction {low:g} {high:g}: give the lower end first")
    if getattr(settings, "rest_offset", 0) >= getattr(settings, "contact_offset", 1):
        raise ValueError(
            f"--{entry.prefix}.rest-offset {settings.rest_offset:g}: must be below --{entry.prefix}.contact-offset, "
            f"{settings.contact_offset:g}"
        )
    check_task(args.task, settings.control_dt)
