"""Starts the layer's executable under other kernels, in a virtual machine: Debian's for the cloud, 5.10, 6.1 and 6.12.

Each machine holds the kernel, the executable and tests/packaging/guest.c, which starts it 50 times, up to a TLS
handshake, and shuts it down. Takes qemu-system-x86, a C compiler, and Debian's archive for the suites below.
"""

from __future__ import annotations

import platform
import stat
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

from o2_lambda.layer.build import project_root
from o2_lambda.layer.inputs import DEBIAN_KEYRING
from o2_lambda.layer.linking import DEFAULT_FLAVOUR, Builder
from o2_lambda.layer.process import read, require, run
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import host

SUITES = ("bullseye", "bookworm", "trixie")
KERNEL = "linux-image-cloud-amd64"  # depends on the newest
STARTS = 50
PATIENCE_S = 600


def apt_configuration(folder: Path, suite: str) -> dict[str, str]:
    """The environment in which apt knows this suite alone, and nothing of what is installed."""
    addresses = read(["apt-get", "indextargets", "--format", "$(REPO_URI)"]).split()
    archive = next(address for address in addresses if PurePosixPath(address).name == "debian")
    for part in ("lists/partial", "archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb [signed-by={DEBIAN_KEYRING}] {archive} {suite} main\n")
    (folder / "apt.conf").write_text(
        f'Dir::State "{folder}";\nDir::State::status "/dev/null";\nDir::Cache "{folder}";\n'
        f'Dir::Etc::sourcelist "{folder}/sources.list";\nDir::Etc::sourceparts "-";\n'
        'APT::Architecture "amd64";\nAPT::Sandbox::User "root";\nAcquire::Languages "none";\n'
    )
    return {"APT_CONFIG": str(folder / "apt.conf")}


def kernel(folder: Path, suite: str) -> Path:
    """The kernel of a suite; apt checks it against the archive's signature."""
    env, log = apt_configuration(folder, suite), folder / "log"
    run(["apt-get", "update"], env=env, log=log)
    described = read(["apt-cache", "depends", KERNEL], env=env)
    package = next(line.split()[1] for line in described.splitlines() if "Depends:" in line)
    run(["apt-get", "download", package], cwd=folder, env=env, log=log)
    (archive,) = folder.glob("*.deb")
    run(["dpkg-deb", "-x", archive, folder / "unpacked"], log=log)
    return next((folder / "unpacked" / "boot").glob("vmlinuz-*"))


def root_archive(files: dict[str, Path]) -> bytes:
    """An initial root file system in the "newc" form of cpio: folders, executable files, the console."""
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
    entries = [(name, stat.S_IFDIR | 0o755, b"", 0) for name in sorted({*folders, "proc", "tmp", "dev"})]
    entries.append(("dev/console", stat.S_IFCHR | 0o600, b"", 5 << 8 | 1))
    entries += [(name, stat.S_IFREG | 0o755, path.read_bytes(), 0) for name, path in files.items()]
    packed = b""
    for number, (name, mode, content, device) in enumerate([*entries, ("TRAILER!!!", 0, b"", 0)]):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, device >> 8, device & 255, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        packed += head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
    return packed


def boot(vmlinuz: Path, root: Path) -> str:
    """What the machine prints until it turns itself off. The CPU is emulated, which works everywhere."""
    command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-nographic", "-no-reboot"]
    line = f"console=ttyS0 quiet panic=-1 -- {STARTS}"
    done = subprocess.run(  # noqa: S603 - our own command
        [*command, "-kernel", vmlinuz, "-initrd", root, "-append", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return done.stdout


def main() -> None:
    """Prints a line per kernel; exit status 1 where a start failed."""
    if platform.machine() != "x86_64":
        raise SystemExit("the kernels are for x86_64")
    require("qemu-system-x86_64", "cc", "dpkg-deb")
    store = Store(project_root() / ".cache" / "layer")
    executable = Builder(store).executable(host(), DEFAULT_FLAVOUR[host().arch])
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        guest = folder / "init"
        run(["cc", "-O2", "-static", "-o", guest, project_root() / "tests/packaging/guest.c"], log=folder / "log")
        root = folder / "root"
        root.write_bytes(root_archive({"init": guest, "opt/extensions/o2-lambda-extension": executable}))
        for suite in SUITES:
            printed = boot(kernel(folder / suite, suite), root)
            verdict = next((line for line in printed.splitlines() if line.endswith(" starts")), printed[-2000:])
            print(f"{suite}: {verdict}", flush=True)
            failed = failed or f": {STARTS} of {STARTS} starts" not in verdict
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
