"""Join the stores of a job array whose tasks had folders of their own: `python -m interp_jax.runs.merge INTO PART...`.

Tasks that share a folder need none of this.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from interp_jax.runs import checkpoint, manifest, seal
from interp_jax.runs.errors import CheckpointError, StoreError
from interp_jax.runs.events import Events
from interp_jax.runs.store import KEEP, Store, read_manifest


def merge(parts: Sequence[Path | str], into: Path | str) -> list[str]:
    """Copy the newest sound unit of every chain of the part stores into one store; give the names that were copied.

    A unit is copied beside its place, verified leaf by leaf, and renamed, so a merge that is killed can be run again,
    and one that is done changes nothing. `into` may hold chains already; the further one of two is kept. One process
    only.

    Raises:
        StoreError: if the stores are of different configurations, or one is damaged, by file.
        CheckpointError: if a chain of a part has units and none of them is sound.
    """
    target, folders = Path(into).expanduser().absolute(), [Path(part).expanduser().absolute() for part in parts]
    if not folders:
        raise ValueError("want at least one part to merge")
    records = {folder: read_manifest(folder) for folder in folders}
    first = records[folders[0]]
    if (target / manifest.NAME).exists():
        records[target] = read_manifest(target)
    for folder, record in records.items():
        if record["hash"] != first["hash"]:
            found = "; ".join(manifest.differences(first["config"], record["config"])[:3])
            raise StoreError(f"{folders[0]} and {folder} are of different configurations ({found}): merge them apart")
    if target not in records:
        _begin(target, first)
    store = Store(target, first, Events(target / "events.jsonl"))
    return [name for folder in folders if folder != target for name in _join(store, folder)]


def _begin(target: Path, record: dict) -> None:
    target.mkdir(parents=True, exist_ok=True)
    if foreign := sorted(path.name for path in target.iterdir() if not path.name.startswith(manifest.NAME)):
        raise StoreError(f"{target} holds other files ({foreign[0]}) and no {manifest.NAME}: give a new folder")
    seal.write(target / manifest.NAME, {key: value for key, value in record.items() if key != "seal"})


def _join(store: Store, part: Path) -> list[str]:
    """Copy what the part has further than the store; give the names of the chains copied."""
    copied = []
    for source in sorted((part / "chains").glob("*")):
        if not (source / "chain.json").exists() and not checkpoint.steps(source / "units"):
            continue
        identity = {key: value for key, value in seal.read(source / "chain.json").items() if key != "seal"}
        with store.claim(source.name):
            if _copy(store, source, store.root / "chains" / source.name, identity):
                copied.append(source.name)
                store.events.log("merge", chain=source.name, part=str(part))
    return copied


def _copy(store: Store, source: Path, place: Path, identity: dict) -> bool:
    """Copy the newest sound unit of one chain, unless the place holds a sound one that is as far."""
    (place / "units").mkdir(parents=True, exist_ok=True)
    if (place / "chain.json").exists():
        there = {key: value for key, value in seal.read(place / "chain.json").items() if key != "seal"}
        if found := manifest.differences(there, identity):
            raise StoreError(f"{place} and {source} are different chains of one name ({'; '.join(found[:3])})")
    key, steps = seal.sha256(identity), checkpoint.steps(source / "units")
    have = _newest(store, place / "units", key)
    if have >= max(steps, default=0):
        return False
    seal.write(place / "chain.json", identity, replace=False)
    stage = place / "merging"
    for step in reversed([step for step in steps if step > have]):
        shutil.rmtree(stage, ignore_errors=True)
        shutil.copytree(source / "units" / str(step), stage / str(step))
        try:
            checkpoint.read(stage, step, None, key)
        except CheckpointError as error:
            store.note(f"chain {source.name}: {source / 'units' / str(step)} is not merged: {error}")
            continue
        _settle(place, stage, step)
        return True
    shutil.rmtree(stage, ignore_errors=True)
    if not have:
        raise CheckpointError(f"{source}: no sound unit among {steps}: run that part again")
    return False


def _settle(place: Path, stage: Path, step: int) -> None:
    """Rename the verified copy to its place, over a damaged unit if there is one, and drop what is older."""
    if (place / "units" / str(step)).exists():
        checkpoint.remove(place / "units", step)
    (stage / str(step)).rename(place / "units" / str(step))
    shutil.rmtree(stage, ignore_errors=True)
    for old in checkpoint.steps(place / "units")[:-KEEP]:
        checkpoint.remove(place / "units", old)


def _newest(store: Store, root: Path, key: str) -> int:
    for step in reversed(checkpoint.steps(root)):
        try:
            checkpoint.read(root, step, None, key)
        except CheckpointError as error:
            store.note(str(error))
        else:
            return step
    return 0


def main(words: Sequence[str]) -> int:
    """Merge from the command line: INTO PART..."""
    if len(words) < 2 or words[0].startswith("-"):
        print("usage: python -m interp_jax.runs.merge INTO PART [PART ...]", file=sys.stderr)  # noqa: T201
        return 2
    try:
        print(json.dumps(merge(words[1:], words[0])))  # noqa: T201
    except (ValueError, OSError) as error:
        print(f"merge: error: {checkpoint.line(error)}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
