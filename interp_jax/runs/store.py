"""A folder that belongs to one configuration and keeps the units of its chains.

    DIR/manifest.json            the configuration, its hash, versions, device, time; sealed
    DIR/events.jsonl             what happened (`runs.events`); one file for each part of a job array
    DIR/chains/NAME/chain.json   what the chain is (`Chain.describe`); sealed
    DIR/chains/NAME/units/K/     the state after K units (`runs.checkpoint`): the two newest good ones
    DIR/chains/NAME/damaged/K/   the last unit that failed its check, set aside

Other files in DIR are the experiment's own. Several tasks of a job array may share one DIR on a shared file system,
since they write different chains; where they cannot, each has its own and `runs.merge` joins them.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax

from interp_jax.core.types import PyTree
from interp_jax.runs import agree, checkpoint, manifest, seal
from interp_jax.runs.chain import Chain
from interp_jax.runs.errors import CheckpointError, SaveError, StoreError
from interp_jax.runs.events import Events, Sink
from interp_jax.runs.parts import ALL, Part

KEEP = 2  # the newest unit, and one to fall back on


class Store:
    """See `open_store`. root: the folder. manifest: its record. events: its log. problems: damage met, a line each."""

    def __init__(self, root: Path, record: dict, events: Events) -> None:
        self.root, self.manifest, self.events = root, record, events
        self.problems: list[str] = []
        self._bad: dict[str, list[int]] = {}

    def latest(self, chain: Chain) -> tuple[int, PyTree] | None:
        """Give (units done, state) of the newest unit that is sound, on all processes alike; None to start again.

        A damaged unit is reported (`problems`, the log) and the one before is tried.

        Raises:
            StoreError: if the chain in the store is another one (other description, leaves, shapes, dtypes).
        """
        key, found = self._identify(chain), self._steps(chain.name)
        self._bad[chain.name] = []
        if not found:
            return None
        target = chain.abstract()
        for step in reversed(found):
            try:
                return step, checkpoint.read(self._units(chain.name), step, target, key)
            except CheckpointError as error:
                self._bad[chain.name].append(step)
                self.note(f"chain {chain.name}: {error}")
        self.note(f"chain {chain.name}: no sound unit is left: it starts again")
        return None

    def commit(self, chain: Chain, units: int, state: PyTree) -> None:
        """Keep `state` as the state after `units` units, atomically; older units but one are removed.

        Raises:
            SaveError: if it cannot be written; what was committed before remains.
        """
        if not 1 <= units <= chain.length:
            raise ValueError(f"want 1 <= units <= {chain.length} for chain {chain.name}, got {units=}")
        root, key = self._units(chain.name), self._begin(chain)
        agree.first(lambda: self._set_aside(chain.name, units))
        checkpoint.save(root, units, state, key)
        agree.first(lambda: self._retain(root))

    def chains(self) -> dict[str, dict]:
        """Give each chain's description, by name.

        Raises:
            StoreError: if one is damaged, by file.
        """
        return {path.name: seal.read(path / "chain.json")["describe"] for path in self._folders()}

    def progress(self) -> dict[str, tuple[int, int]]:
        """Give (units committed, length) of each chain, by name, without checking the units.

        Raises:
            StoreError: if a description is damaged, by file.
        """
        return {
            path.name: (max(checkpoint.steps(path / "units"), default=0), seal.read(path / "chain.json")["length"])
            for path in self._folders()
        }

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """Hold a chain against other programs on this machine; a lock ends with its process, however that ends.

        Raises:
            StoreError: if another program holds it.
        """
        held: list[int] = []
        agree.first(lambda: _lock(self._folder(name), held))
        try:
            yield
        finally:
            for number in held:
                os.close(number)

    def _folders(self) -> list[Path]:
        chains = self.root / "chains"
        folders = sorted(chains.iterdir()) if chains.is_dir() else []
        return [path for path in folders if (path / "chain.json").exists() or checkpoint.steps(path / "units")]

    def _folder(self, name: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", name):
            raise ValueError(f"want a chain name of letters, digits, '-', '_', '.' (at most 100), got {name!r}")
        return self.root / "chains" / name

    def _units(self, name: str) -> Path:
        return self._folder(name) / "units"

    def _steps(self, name: str) -> list[int]:
        return json.loads(agree.first(lambda: json.dumps(checkpoint.steps(self._units(name)))))

    def _identify(self, chain: Chain) -> str:
        """Give the hash of what the chain is; refuse it if the store knows another one by its name."""
        here = _identity(chain)
        path = self._folder(chain.name) / "chain.json"

        def compare() -> str:
            if not path.exists():
                return ""
            try:
                return "; ".join(manifest.differences(_open(seal.read(path)), here)[:3])
            except StoreError as error:
                self.note(f"chain {chain.name}: {error}: it is written again")
                path.unlink()
                return ""

        if found := agree.first(compare):
            raise StoreError(f"{path.parent} holds another chain of this name ({found}): give another folder")
        return seal.sha256(here)

    def _begin(self, chain: Chain) -> str:
        """Write what the chain is, once; make its folder; give its hash."""
        key = self._identify(chain)

        def write() -> str:
            folder = self._folder(chain.name)
            (folder / "units").mkdir(parents=True, exist_ok=True)
            if not (folder / "chain.json").exists():
                seal.write(folder / "chain.json", _identity(chain), replace=False)
            return ""

        try:
            agree.first(write)
        except OSError as error:
            raise SaveError(f"cannot write in {self.root}: {checkpoint.line(error)}") from error
        return key

    def _set_aside(self, name: str, units: int) -> str:
        """Move units that failed their check, or that a fall-back left ahead of the one to come, out of the way."""
        root, aside = self._units(name), self._folder(name) / "damaged"
        checkpoint.tidy(root)
        for step in checkpoint.steps(root):
            if step in self._bad.get(name, []) or step >= units:
                shutil.rmtree(aside, ignore_errors=True)
                aside.mkdir(exist_ok=True)
                (root / str(step)).rename(aside / str(step))
        self._bad[name] = []
        return ""

    def _retain(self, root: Path) -> str:
        for step in checkpoint.steps(root)[:-KEEP]:
            checkpoint.remove(root, step)
        return ""

    def note(self, text: str) -> None:
        """Report damage: in `problems` and in the log."""
        self.problems.append(text)
        self.events.log("problem", text=text)


def open_store(
    path: Path | str, config: dict, *, part: Part = ALL, sinks: tuple[Sink, ...] = (), **more: object
) -> Store:
    """Open the folder of a configuration, or begin it; all processes together.

    `config`: JSON values; exactly what defines a run (not the number of seeds, the place, the devices, the part).
    `part` names the event log. `more`: JSON values for the manifest that do not define a run (the command, say).

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> store = open_store(folder, {"lr": 0.1})
    >>> open_store(folder, {"lr": 0.2})
    Traceback (most recent call last):
    interp_jax.runs.errors.StoreError: ... holds another configuration (lr: 0.1 there, 0.2 here): ...

    Raises:
        StoreError: if the folder holds another configuration, foreign files, a damaged manifest, or cannot be written.
    """
    if "://" in str(path):
        raise StoreError(f"want a folder of a file system, got {path}: mount the bucket and give its folder")
    root = Path(path).expanduser().absolute()
    config = json.loads(seal.canonical(config))
    here = manifest.make(config, **more)
    stored = json.loads(agree.first(lambda: json.dumps(_begin_store(root, here))))
    if stored["hash"] != here["hash"]:
        found = manifest.differences(stored["config"], config)
        more_text = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise StoreError(
            f"{root} holds another configuration ({'; '.join(found[:3])}{more_text}): "
            "give another folder, or remove that one if it is not needed"
        )
    name = "events.jsonl" if part.count == 1 else f"events-{part.index}-of-{part.count}.jsonl"
    store = Store(root, stored, Events(root / name if jax.process_index() == 0 else None, sinks))
    store.events.log("open", part=str(part), **{key: here[key] for key in ("device", "devices", "processes")})
    changed = manifest.differences(stored["versions"], here["versions"])
    if changed:
        store.events.log("warning", text=f"begun with other versions, bits may differ: {'; '.join(changed)}")
    return store


def read_manifest(root: Path) -> dict:
    """Read the manifest of a store.

    Raises:
        StoreError: if it is missing or damaged, or of a later format.
    """
    record = seal.read(root / manifest.NAME)
    if record.get("format") != 1:
        raise StoreError(f"{root / manifest.NAME} has format {record.get('format')!r}, this version reads 1: update it")
    return record


def _begin_store(root: Path, here: dict) -> dict:
    """Give the manifest of a folder, written now if the folder is new or empty."""
    path = root / manifest.NAME
    try:
        root.mkdir(parents=True, exist_ok=True)
        foreign = sorted(p.name for p in root.iterdir() if not p.name.startswith(manifest.NAME))
        if not path.exists() and foreign:
            raise StoreError(
                f"{root} holds other files ({foreign[0]}) and no {manifest.NAME}: give a new or an empty folder"
            )
        if not path.exists():
            seal.write(path, here, replace=False)
        probe = root / f"{manifest.NAME}.tmp-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StoreError(
            f"cannot write in {root} ({checkpoint.line(error)}): give a folder that can be written"
        ) from error
    return read_manifest(root)


def _identity(chain: Chain) -> dict:
    return json.loads(seal.canonical({"name": chain.name, "length": chain.length, "describe": chain.describe()}))


def _open(record: dict) -> dict:
    return {key: value for key, value in record.items() if key != "seal"}


def _lock(folder: Path, held: list[int]) -> str:
    """Lock a chain's folder; where the file system knows no locks (some network folders), go on without."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.append(os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o644))
    except OSError as error:
        raise SaveError(f"cannot write in {folder}: {checkpoint.line(error)}") from error
    try:
        fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held.pop())
        raise StoreError(f"another program is at work on {folder}: wait for it, or give another folder") from None
    except OSError:
        pass
    return ""
