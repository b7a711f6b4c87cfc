# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that nobody here wrote: Debian's SeaBIOS and GRUB 2.06, on a disk image of 16 MiB made from Debian's packages.

The image is what grub-install would leave, made without it: boot.img in sector 0 with the partition table and the place of the core
image, the core image in the gap, and GRUB's modules in a tar file that fills the one partition. Only drivers for that are in the core
image: it is packed, and unpacking is what takes most of the time where KVM emulates the guest. GRUB ends at its rescue prompt on the
serial port. A marker in a sector of its own tells disks apart.

    files = grub_files(c)
    make_disk(files, path, "first")
    grub = Grub(console)        the serial port, from power-on
    grub.prompt()
    grub.run("lspci")           the lines that it prints
"""

import io
import tarfile

from backplane import *

CORE = ("biosdisk", "part_msdos", "tar")
COMMANDS = ("lspci", "lsmmap", "lsacpi", "date", "hexdump", "halt", "reboot")
CORE_SECTOR, PARTITION_SECTOR, MARKER_SECTOR = 64, 2048, 32000
SCRIPT = "".join("%s\n" % line for line in (
    "insmod serial", "insmod terminal", "serial --unit=0 --speed=115200", "terminal_output serial", "terminal_input serial",
    *("insmod " + name for name in COMMANDS)))
PROMPT = r"grub rescue> "
BOOT_PATIENCE = 240  # seconds to the prompt, on a busy machine of the slow kind


class Files:
    """Where the packages are, and the two that make a disk: the core image and the tar file."""

    def __init__(self, root):
        self.seabios = os.path.join(root, "usr/share/seabios/bios-256k.bin")
        self.folder = os.path.join(root, "usr/lib/grub/i386-pc")
        self.core = self._core(root)
        self.modules = self._modules()

    def read(self, name):
        with open(os.path.join(self.folder, name), "rb") as f:
            return bytearray(f.read())

    def _core(self, root):
        libs = [path for part in ("lib", "usr/lib") for path in glob.glob(os.path.join(root, part, "*-linux-gnu"))]
        with tempfile.TemporaryDirectory(prefix="bp-") as folder:
            script, out = os.path.join(folder, "script"), os.path.join(folder, "core.img")
            with open(script, "w") as f:
                f.write(SCRIPT)
            subprocess.run([os.path.join(root, "usr/bin/grub-mkimage"), "-O", "i386-pc", "-d", self.folder, "-p", "(hd0,msdos1)", "-c", script,
                            "-o", out, *CORE], check=True, env=dict(os.environ, LD_LIBRARY_PATH=":".join(libs)))
            with open(out, "rb") as f:
                return bytearray(f.read())

    def _modules(self):
        """The commands' modules with all that they need; GRUB loads those by itself."""
        with open(os.path.join(self.folder, "moddep.lst")) as f:
            needs = {name: words.split() for name, _, words in (line.partition(":") for line in f)}
        names, todo = set(), ["serial", "terminal", *COMMANDS]
        while todo:
            name = todo.pop()
            if name not in names:
                names.add(name)
                todo += needs.get(name, [])
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name in sorted(names):
                tar.add(os.path.join(self.folder, name + ".mod"), "i386-pc/%s.mod" % name)
        return out.getvalue()


def grub_files(c):
    try:
        return Files(fetch_peers("seabios", "grub-pc-bin", "grub-common", "libdevmapper1.02.1"))
    except OSError as error:
        c.skip("Debian's SeaBIOS and GRUB can not be had: %s" % error)


def make_disk(files, path, marker):
    """What grub-bios-setup writes: the core image's first sector at 0x5c of the boot sector, its second at 0x1f4 of its own first one;
    two NOPs over the jump at 0x66, so that the drive number of the BIOS is believed; and the old sector's partition table."""
    boot, core = files.read("boot.img"), bytearray(files.core)
    struct.pack_into("<Q", boot, 0x5C, CORE_SECTOR)
    boot[0x66:0x68] = b"\x90\x90"
    boot[446:510] = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", PARTITION_SECTOR, 4096) + bytes(48)
    struct.pack_into("<Q", core, 0x1F4, CORE_SECTOR + 1)
    with open(path, "wb") as f:
        for sector, data in ((0, boot), (CORE_SECTOR, core), (PARTITION_SECTOR, files.modules), (MARKER_SECTOR, marker.encode())):
            f.seek(sector * 512)
            f.write(data)
        f.truncate(16 * MIB)
    return path


class Grub:
    """GRUB at the other end of a Console."""

    def __init__(self, console):
        self.console = console

    def prompt(self):
        """From power-on to GRUB's prompt. What comes before may be SeaBIOS's screen, with cursor movements anywhere in its words."""
        self.console.expect(PROMPT, BOOT_PATIENCE)

    def ask(self, command):
        self.console.send(command + "\r")

    def answer(self, command):
        """What the command printed, lines that GRUB broke at column 80 made whole."""
        self.console.expect(re.escape(command) + r"\r?\n", 60)
        began = self.console.mark
        match = self.console.expect(PROMPT, 60)
        text = bytes(self.console.data[began:self.console.mark - len(match.group(0))]).decode("latin-1").replace("\r", "")
        lines = []
        for line in text.split("\n"):
            if lines and len(lines[-1]) % 79 == 0 and lines[-1]:
                lines[-1] += line
            else:
                lines.append(line)
        return [line for line in lines if line]

    def run(self, command):
        self.ask(command)
        return self.answer(command)

    def marker(self, disk="hd0"):
        """The marker, read by the BIOS's own driver."""
        return self._text(self.run("hexdump -n 32 (%s)%d+1" % (disk, MARKER_SECTOR)))

    @staticmethod
    def _text(lines):
        """The characters at the right of a hexdump."""
        return "".join(line.partition("|")[2].rpartition("|")[0] for line in lines).rstrip(".")


def run_all(grubs, command):
    """A command at several prompts at the same time; what each printed."""
    for grub in grubs:
        grub.ask(command)
    return [grub.answer(command) for grub in grubs]


# ---- our machine

LOG_TROUBLE = re.compile(r"(?im)^.*(?:warning|romfile_loader|corrupt|checksum|unable|parse error|fail|error|time[d ]*out|invalid|no space|out of|missing).*$")


class GrubMachine(Machine):
    """Board, CPUs, memory, firmware, serial port, debug console, root ports and disks, (marker, options of the disk) each."""

    def furnish(self, files, disks, cpus=1, memory=512 * MIB, ports=(), **firmware):
        self.board(max_cpus=cpus)
        for i in range(cpus):
            self.cpu("cpu%d" % i)
        self.memory(memory)
        self.serial("console")
        path = self.path("log402")
        self("chardev-add", id="log402", backend={"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": path}}, "server": True, "wait": False}})
        self("device_add", driver="isa-debugcon", id="debug0", chardev="log402")
        # SeaBIOS's own console on the port holds the end of what was printed back ("Welcome to GRUB!") until its timer ticks, which may be
        # in the middle of an answer, and reads keys that are meant for GRUB.
        self("device_add", driver="firmware", id="fw", file=files.seabios, console_port=0, **firmware)
        for id in ports:
            self("device_add", driver="pcie-root-port", id=id)
        self.images = [make_disk(files, self.path("%s.img" % marker), marker) for marker, _ in disks]
        for (marker, options), image in zip(disks, self.images):
            self.disk(marker, image, **options)
        self.bios_log, self.grub = Console(path), Grub(self.console)

    def disk(self, name, image, **options):
        self("blockdev-add", driver="file", filename=image, node_name="node-" + name)
        self("device_add", driver="virtio-blk-pci", id=name, drive="node-" + name, **options)

    def check_log(self):
        """SeaBIOS's log is free of complaints."""
        self.c.contains(self.bios_log.text, "using modern (1.0) virtio mode", "SeaBIOS's log")
        self.c.equal(LOG_TROUBLE.findall(self.bios_log.text), [], "complaints of SeaBIOS")

    def halt(self):
        self.grub.ask("halt")
        self.wait("SHUTDOWN", 60, guest=True, reason="guest-shutdown")

    def _explain(self):
        super()._explain()
        self.c.note("log at 0x402:\n" + self.bios_log.text[-2000:] if hasattr(self, "bios_log") else "no log at 0x402")

    def __exit__(self, *exc):
        super().__exit__(*exc)
        if hasattr(self, "bios_log"):
            self.bios_log.close()
