"""Tight places to run in: a full /tmp, an own name server, no descriptors or memory beyond what start-up took."""

from __future__ import annotations

import resource
import shutil
import subprocess
from functools import cache
from pathlib import Path

# Shell that runs before the extension, in its process.
PLACES = {
    "full tmp": """exec 3<"$KEEP"
mount -t tmpfs -o size=32k none /tmp
case "$KEEP" in /tmp/*) mkdir -p "${KEEP%/*}" && cat <&3 >"$KEEP" ;; esac
exec 3<&-
head -c 65536 /dev/zero >/tmp/full 2>/dev/null""",
    "own name server": 'mount --bind "$HERE/resolv.conf" /etc/resolv.conf',
}
MEMORY_LEFT_BYTES = 512 * 1024
NAME_SERVER = "127.53.0.9"


@cache
def may_mount() -> bool:
    """Whether a private mount namespace can be made here."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /tmp"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def possible(place: str) -> bool:
    """Whether this machine has such a place."""
    if place == "full tmp" and Path(__file__).is_relative_to("/tmp"):
        return False  # it would hide the project itself
    return place not in PLACES or may_mount()


def tighten(pid: int, place: str) -> None:
    """Takes away from a running process what is free."""
    proc = Path(f"/proc/{pid}")
    if place == "few descriptors":
        limit = max(int(entry.name) for entry in (proc / "fd").iterdir()) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
    elif place == "little memory":
        status = (proc / "status").read_text().splitlines()
        used_kb = next(int(line.split()[1]) for line in status if line.startswith("VmSize:"))
        limit = used_kb * 1024 + MEMORY_LEFT_BYTES
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))


def wrap(executable: Path, place: str, folder: Path, keep: Path) -> Path:
    """An executable of the same name that runs `executable` in `place`, where the file `keep` can still be read."""
    if place not in PLACES:
        return executable
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\n")
    program = executable
    if place == "full tmp":  # which may hide the executable itself
        program = Path("/mnt") / executable.name
        inside = f'KEEP="{keep}"\nmount --bind "{executable.parent}" /mnt\n'
    else:
        inside = f'HERE="{folder}"\n'
    script = f'{inside}{PLACES[place]}\nexec "{program}" "$@"\n'
    (folder / "inside.sh").write_text(script)
    path = folder / executable.name
    path.write_text(f'#!/bin/sh\nexec unshare -m sh "{folder}/inside.sh" "$@"\n')
    path.chmod(0o755)
    return path
