"""Which trainings a sweep has: combinations of options, seeds, and what is left to do of each."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from ppo_grasp.metrics import FILE as METRICS
from ppo_grasp.run.files import replace_file
from ppo_grasp.run.settings import differences
from tasks.commands import train
from tasks.commands.help import listed
from tasks.commands.loading import check_set
from tasks.commands.presets import TrainArgs
from tasks.evaluation.page.runs import flat

BASE = "base"
"""What a combination without any option of its own is called."""
RECORD = "sweep.json"
"""In a run directory: with which settings the sweep trains there, and whether the training has ended."""
OWN = ("run-dir", "resume", "seed")
"""Options of train.py that the sweep sets itself."""
NOT_COMPARED = ("run_dir", "resume", "trainer.seed", "trainer.total_timesteps", "trainer.max_minutes")
"""Settings that may be others when a sweep goes on."""
ON = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


@dataclass
class Combination:
    """A row of the results: options and their values, trained once with each seed."""

    name: str
    varied: Dict[str, str]
    """The options that differ from the base, as they were written."""
    words: Tuple[str, ...]
    """For train.py: the base's options, then its own."""
    args: TrainArgs
    """What train.py makes of the words."""
    folder: str
    """In the sweep's directory.  Combinations that come to the same settings have the same."""

    def settings(self) -> Dict[str, Any]:
        """By dotted names, as JSON would have them."""
        return flat(json.loads(json.dumps(asdict(self.args), default=str)))


@dataclass
class Training:
    """One training: a combination and a seed."""

    combination: Combination
    seed: int
    run_dir: Path
    words: List[str] = field(init=False)
    """For train.py."""

    def __post_init__(self) -> None:
        own = ["--seed", str(self.seed), "--run-dir", str(self.run_dir), "--resume", "auto"]
        self.words = [*self.combination.words, *own]

    @property
    def name(self) -> str:
        return f"{self.combination.name}, seed {self.seed}"

    def is_done(self) -> bool:
        """Whether the directory has this training, to its end.  Raises ValueError if it has another."""
        settings, record = self.combination.settings(), self._record()
        if not record:
            if (self.run_dir / METRICS).exists():
                raise ValueError(f"--out: {self.run_dir} holds a run that is not of a sweep; give another directory")
            return False
        before, now = ({k: v for k, v in s.items() if k not in NOT_COMPARED} for s in (record["settings"], settings))
        other = differences(before, now)
        if other:
            raise ValueError(
                f"--out: {self.run_dir} was trained with other options ({other[0]}); give another directory"
            )
        lengths = [name for name in NOT_COMPARED if name.startswith("trainer.") and name != "trainer.seed"]
        return bool(record["done"]) and all(record["settings"].get(k) == settings.get(k) for k in lengths)

    def note(self, done: bool) -> None:
        """Writes down with what is trained here, and whether it is done."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        record = {"settings": self.combination.settings(), "done": done}
        replace_file(self.run_dir / RECORD, [json.dumps(record, indent=1)])

    def _record(self) -> Dict[str, Any]:
        try:
            found = json.loads((self.run_dir / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and {"settings", "done"} <= set(found) else {}


def combinations(
    vary: Sequence[Sequence[str]], variants: Sequence[str], grid: bool, base: Sequence[str]
) -> List[Combination]:
    """All combinations, each checked as train.py would check it.  Raises ValueError or ends the program for what is wrong.

    vary: an option and its values, each.  variants: "NAME: OPTIONS", each.  grid: all values with all, else one option at a
    time.  base: options of train.py for all.
    """
    names = [option(words) for words in vary]
    axes = [[(name, value) for value in words[1:]] for name, words in zip(names, vary)]
    if len(set(names)) < len(names):
        raise ValueError(f"--vary {max(names, key=names.count)}: is given twice; give all its values at once")
    _refuse_own(names, "--vary")
    _refuse_own([word.split("=")[0].strip("-").replace("_", "-") for word in base if word.startswith("--")], "after --")
    one_by_one = [(pair,) for axis in axes for pair in axis]
    chosen = list(product(*axes)) if grid and axes else one_by_one
    flags = {o.name.strip("-") for o in listed(TrainArgs, TrainArgs()) if not o.value}
    rows: List[Tuple[str, Dict[str, str], List[str]]] = []
    for pairs in chosen:
        words = [word for name, value in pairs for word in written(name, value, name in flags)]
        rows.append((", ".join(f"{name} {value}" for name, value in pairs), dict(pairs), words))
    for text in variants:
        name, colon, options = text.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"--variant {text}: write it as 'NAME: OPTIONS'")
        rows.append((name.strip(), {"variant": name.strip()}, shlex.split(options)))
    return _checked(rows or [(BASE, {}, [])], base)


def option(words: Sequence[str]) -> str:
    """The name that `--vary` gives, without dashes.  Raises ValueError if no value follows."""
    name = words[0].strip("-").replace("_", "-")
    if len(words) < 2:
        raise ValueError(f"--vary {words[0]}: give its values, too")
    return name


def written(name: str, value: str, flag: bool) -> List[str]:
    """An option and a value as train.py reads them.  flag: whether the option has no value, but a form with `no-`."""
    if not flag:
        return [f"--{name}", *shlex.split(value)]
    if value.lower() not in ON:
        raise ValueError(f"--vary {name} {value}: must be on or off")
    head, dot, end = name.rpartition(".")
    return [f"--{name}" if ON[value.lower()] else f"--{head}{dot}no-{end}"]


def trainings(found: Sequence[Combination], seeds: Sequence[int], out: Path) -> List[Training]:
    """Each directory's training once.  All come with the first seed, then with the next, so that a break leaves some of all."""
    by_folder = {combination.folder: combination for combination in reversed(found)}
    order = dict.fromkeys(combination.folder for combination in found)
    return [
        Training(by_folder[folder], seed, out / folder / f"seed{seed}")
        for seed, folder in product(dict.fromkeys(seeds), order)
    ]


def _refuse_own(names: Sequence[str], where: str) -> None:
    own = [name for name in names if name in OWN]
    if own:
        better = "give --seeds" if own[0] == "seed" else "give --out, which can be gone on with"
        raise ValueError(f"{where} {own[0]}: the sweep sets that itself; {better}")


def _checked(rows: Sequence[Tuple[str, Dict[str, str], List[str]]], base: Sequence[str]) -> List[Combination]:
    found: List[Combination] = []
    folders: Dict[str, str] = {}
    for name, varied, own in rows:
        words = (*base, *own)
        args = train.read(words)
        train.check(args)
        check_set(args.objects)
        if args.eval_objects:
            check_set(args.eval_objects, "--eval-objects")
        new = Combination(name, varied, words, args, "")
        key = json.dumps(new.settings(), sort_keys=True)
        if key not in folders:
            folders[key] = _folder(name, varied, list(folders.values()))
        new.folder = folders[key]
        found.append(new)
    names = [row[0] for row in rows]
    if len(set(names)) < len(names):
        raise ValueError(f"{max(names, key=names.count)}: is asked for twice")
    return found


def _folder(name: str, varied: Dict[str, str], taken: Sequence[str]) -> str:
    """A directory's name that says what is trained there."""
    text = name if "variant" in varied else ",".join(f"{k}={v}" for k, v in varied.items()) or name
    clean = re.sub(r"[^\w.,=+-]+", "_", text)[:100]
    number, folder = 1, clean
    while folder in taken:
        number += 1
        folder = f"{clean}-{number}"
    return folder
