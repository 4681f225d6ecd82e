"""Command lines that can't be honoured: one line that says what and why, status 1, nothing started."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import harness

GUEST = ("-kernel", "builtin:", "-append", "hello")
DISPLAY = ("-display", "none")
NIC = ("-netdev", "tap,id=n0,ifname=t0", "-device", "virtio-net-pci,netdev=n0")
LIMIT = 20


def run(*args, ns=None, how=(), env=None):
    words = [*how, harness.VIREO, *args]
    words = ns.words(*words) if ns else [str(word) for word in words]
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE, timeout=LIMIT, env=env, check=False)


def check_refused(done, *patterns):
    """Status 1, one line on standard error that says it all, and no guest that ran."""
    said = f"status {done.returncode}, standard error:\n{done.stderr}standard output:\n{done.stdout}"
    assert done.returncode == 1, said
    assert re.fullmatch(r"vireo: [^\n]+\n", done.stderr), said
    for pattern in patterns:
        assert re.search(pattern, done.stderr, re.IGNORECASE), f"no '{pattern}': {said}"
    assert "vireo-guest" not in done.stdout, said


# What is given, and what the line has to say.
COMMAND_LINES = {
    # options
    "unknown option": (("-frobnicate",), "-frobnicate", "unknown option", "--help"),
    "unknown long option": (("--no-such",), "--no-such", "unknown option"),
    "no argument": (("-m",), "-m", "needs an argument"),
    "a disk image by itself": (("disk.img",), r"disk\.img", "-kernel|-drive"),
    "nothing to boot": (DISPLAY, "-kernel"),
    "no display": (GUEST, "-nographic"),
    "a display": (("-display", "gtk", *GUEST), "-display gtk", "none"),
    "another accelerator": (("-accel", "tcg", *GUEST), "-accel tcg", "kvm"),
    "another machine": (("-M", "q35", *GUEST), "q35", "pc"),
    "an option of a machine": (("-M", "pc,frob=1", *GUEST), "frob"),
    "a machine without ACPI": (("-M", "pc,acpi=off", *GUEST), "acpi"),
    "a UUID that is none": (("-uuid", "1234", *GUEST), "-uuid 1234"),
    "a date that is none": (("-rtc", "base=yesterday", *GUEST), "yesterday"),
    "JSON that is none": (("-device", '{"driver":', *GUEST), "-device", "JSON"),
    "an IDE disk": (("-hda", "disk.img", *GUEST), r"disk\.img", "if=virtio"),
    # memory
    "memory: no number": ((*DISPLAY, "-m", "lots", *GUEST), "-m lots"),
    "memory: too little": ((*DISPLAY, "-m", "1", *GUEST), "-m 1"),
    "memory: nothing": ((*DISPLAY, "-m", "0", *GUEST), "-m 0"),
    "memory: negative": ((*DISPLAY, "-m", "-5", *GUEST), "-m -5"),
    "memory: far too much": ((*DISPLAY, "-m", "999999999999T", *GUEST), "-m 999999999999T"),
    "memory: more than the host can give": ((*DISPLAY, "-m", "4000000G", *GUEST), "memory|RAM|-m"),
    "memory: hot plug": ((*DISPLAY, "-m", "512,slots=2,maxmem=1G", *GUEST), "slots|maxmem"),
    "memory: no such folder": ((*DISPLAY, "-mem-path", "/nowhere/ram", *GUEST), "/nowhere/ram",
                               "No such file"),
    # processors
    "smp: none": ((*DISPLAY, "-smp", "0", *GUEST), "-smp 0"),
    "smp: no number": ((*DISPLAY, "-smp", "many", *GUEST), "-smp many"),
    "smp: negative": ((*DISPLAY, "-smp", "-2", *GUEST), "-smp -2"),
    "smp: too many": ((*DISPLAY, "-smp", "5000", *GUEST), "-smp 5000"),
    "smp: more than vireo has": ((*DISPLAY, "-smp", "4000", *GUEST), "-smp 4000"),
    "smp: doesn't add up": ((*DISPLAY, "-smp", "4,sockets=3,cores=2", *GUEST), "-smp 4,sockets=3"),
    "smp: hot plug": ((*DISPLAY, "-smp", "2,maxcpus=4", *GUEST), "maxcpus"),
    "smp: unknown key": ((*DISPLAY, "-smp", "2,frobs=4", *GUEST), "frobs"),
    "cpu: unknown model": ((*DISPLAY, "-cpu", "pentium99", *GUEST), "pentium99"),
    "cpu: unknown feature": ((*DISPLAY, "-cpu", "host,+frobnicate", *GUEST), "frobnicate"),
    # devices
    "device: unknown": ((*DISPLAY, "-device", "frobnicator", *GUEST), "frobnicator", "-device help"),
    "device: unknown option": ((*DISPLAY, "-device", "virtio-rng-pci,frob=1", *GUEST), "frob"),
    "device: bad value": ((*DISPLAY, "-device", "virtio-rng-pci,disable-legacy=maybe", *GUEST),
                          "disable-legacy", "maybe"),
    "device: bad vectors": ((*DISPLAY, "-device", "virtio-rng-pci,vectors=99999", *GUEST), "vectors"),
    "device: neither legacy nor modern": (
        (*DISPLAY, "-device", "virtio-rng-pci,disable-legacy=on,disable-modern=on", *GUEST),
        "disable-legacy", "disable-modern"),
    "device: bad address": ((*DISPLAY, "-device", "virtio-rng-pci,addr=0x20", *GUEST), "0x20"),
    "device: no address": ((*DISPLAY, "-device", "virtio-rng-pci,addr=three", *GUEST), "three"),
    "device: bad function": ((*DISPLAY, "-device", "virtio-rng-pci,addr=0x3.0x8", *GUEST), "0x3.0x8"),
    "device: two at one address": (
        (*DISPLAY, "-device", "virtio-rng-pci,addr=0x5", "-device", "virtio-rng-pci,addr=0x5", *GUEST),
        "5", "taken|in use|occupied|already"),
    "device: where the board is": ((*DISPLAY, "-device", "virtio-rng-pci,addr=0x1", *GUEST),
                                   "1", "taken|in use|occupied|already"),
    "device: two of one id": (
        (*DISPLAY, "-device", "virtio-rng-pci,id=r", "-device", "virtio-rng-pci,id=r", *GUEST),
        "'?r'?", "taken|already|twice"),
    "device: more than there are slots": (
        (*DISPLAY, *(("-device", "virtio-rng-pci") * 40), *GUEST), "slot|address"),
    # network
    "nic: unknown model": (("-net", "nic,model=frob", *DISPLAY, *GUEST), "frob", "model=\\?|help"),
    "nic: bad MAC": ((*DISPLAY, "-device", "virtio-net-pci,mac=00:11:22", *GUEST), "00:11:22"),
    "nic: multicast MAC": ((*DISPLAY, "-device", "virtio-net-pci,mac=01:00:00:00:00:01", *GUEST),
                           "01:00:00:00:00:01"),
    "nic: ring that is no power of two": (
        (*DISPLAY, "-device", "virtio-net-pci,rx_queue_size=100", *GUEST), "rx_queue_size"),
    "netdev: no such": ((*DISPLAY, "-device", "virtio-net-pci,netdev=n7", *GUEST), "n7"),
    "netdev: no id": ((*DISPLAY, "-netdev", "tap", *GUEST), "id="),
    "netdev: unknown type": ((*DISPLAY, "-netdev", "frob,id=n0", *GUEST), "frob"),
    "netdev: unknown option": ((*DISPLAY, "-netdev", "tap,id=n0,frob=1", *GUEST), "frob"),
    "netdev: descriptor that isn't open": ((*DISPLAY, "-netdev", "tap,id=n0,fd=77", *GUEST), "77"),
    "netdev: descriptor that is no TAP": ((*DISPLAY, "-netdev", "tap,id=n0,fd=0", *GUEST), "fd"),
    "net: two NICs on one hub": (
        ("-net", "nic", "-net", "nic", "-net", "none", *DISPLAY, *GUEST), "hub"),
    # disks
    "drive: missing": ((*DISPLAY, "-drive", "file=/nowhere.img,format=raw,if=virtio", *GUEST),
                       "/nowhere.img", "No such file"),
    "drive: no file": ((*DISPLAY, "-drive", "format=raw,if=virtio", *GUEST), "file="),
    "drive: a folder": ((*DISPLAY, "-drive", "file=/,format=raw,if=virtio", *GUEST), "file=/", "folder|directory"),
    "drive: another format": ((*DISPLAY, "-drive", "file=/etc/passwd,format=qcow2,if=virtio", *GUEST),
                              "qcow2"),
    "drive: IDE": ((*DISPLAY, "-drive", "file=/etc/passwd,format=raw", *GUEST), "if="),
    "drive: unknown option": ((*DISPLAY, "-drive", "file=/etc/passwd,format=raw,if=virtio,frob=1", *GUEST),
                              "frob"),
    "blk: no such drive": ((*DISPLAY, "-device", "virtio-blk-pci,drive=d7", *GUEST), "d7"),
    "blk: no drive": ((*DISPLAY, "-device", "virtio-blk-pci", *GUEST), "drive"),
    # console
    "serial: unknown": ((*DISPLAY, "-serial", "frob", *GUEST), "frob"),
    "serial: not supported": ((*DISPLAY, "-serial", "tcp:localhost:1", *GUEST), "tcp"),
    "serial: no such folder": ((*DISPLAY, "-serial", "file:/nowhere/x", *GUEST), "/nowhere/x"),
    "serial: no such chardev": ((*DISPLAY, "-serial", "chardev:c7", *GUEST), "c7"),
    "serial: stdio twice": ((*DISPLAY, "-serial", "stdio", "-monitor", "stdio", *GUEST), "stdio", "-serial"),
    "serial: socket's path too long": ((*DISPLAY, "-serial", f"unix:/tmp/{'x' * 120},server=on,wait=off", *GUEST),
                                       "xxx", "long|107|path"),
    "serial: five": ((*DISPLAY, *(("-serial", "null") * 5), *GUEST), "four|4"),
    "daemonize on the terminal": (("-daemonize", "-serial", "stdio", *DISPLAY, *GUEST), "-daemonize"),
    "pidfile: no such folder": ((*DISPLAY, "-pidfile", "/nowhere/pid", *GUEST), "/nowhere/pid"),
    # kernel
    "kernel: missing": ((*DISPLAY, "-kernel", "/nowhere/vmlinuz"), "/nowhere/vmlinuz", "No such file"),
    "kernel: a folder": ((*DISPLAY, "-kernel", "/"), "/", "folder|directory|regular file"),
    "kernel: a text": ((*DISPLAY, "-kernel", "/etc/passwd"), "/etc/passwd", "kernel|neither|not a"),
    "kernel: empty": ((*DISPLAY, "-kernel", "/dev/null"), "/dev/null"),
    "kernel: another program": ((*DISPLAY, "-kernel", "/bin/true"), "/bin/true"),
    "initrd: missing": ((*DISPLAY, *GUEST, "-initrd", "/nowhere.gz"), "/nowhere.gz", "No such file"),
    "initrd: a folder": ((*DISPLAY, *GUEST, "-initrd", "/"), "/", "folder|directory|regular file"),
    "append: too long": ((*DISPLAY, "-kernel", "builtin:", "-append", "x" * 100000), "append|command line"),
}


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_refused(kvm, name):
    words, *patterns = COMMAND_LINES[name]
    check_refused(run(*words), *patterns)


def test_cpu_feature_that_the_host_lacks(kvm):
    """An AMD processor has no vmx, and Intel's no svm."""
    with open("/proc/cpuinfo", encoding="ascii") as file:
        feature = "vmx" if "AuthenticAMD" in file.read() else "svm"
    check_refused(run(*DISPLAY, "-cpu", f"host,+{feature}", *GUEST), feature, "host|KVM")


def test_initrd_that_does_not_fit(kvm, folder):
    initrd = folder / "initrd"
    with open(initrd, "wb") as file:
        file.truncate(200 << 20)
    check_refused(run(*DISPLAY, "-m", "128", *GUEST, "-initrd", initrd), "initrd", "fit|-m|memory|RAM")


def test_kernel_that_is_cut_off(kvm, folder):
    guest = harness.BUILD / "guest" / "vireo-guest"
    candidates = [path for path in (harness.BUILD / "guest").iterdir()
                  if path.is_file() and path.read_bytes()[:4] == b"\x7fELF" and path.suffix != ".o"]
    assert candidates, guest
    cut = folder / "cut"
    cut.write_bytes(candidates[0].read_bytes()[:3000])
    check_refused(run(*DISPLAY, "-kernel", cut), str(cut))


def without_rights():
    """Words that take root's right to open everything."""
    if os.geteuid() != 0:
        return ()
    how = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")
    if subprocess.run([*how, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("this host doesn't let root give up its rights (setpriv)")
    return how


@pytest.mark.parametrize("mode", [0, 0o444])
def test_image_without_permission(kvm, folder, mode):
    image = folder / "image"
    image.write_bytes(bytes(1 << 20))
    image.chmod(mode)
    done = run(*DISPLAY, "-drive", f"file={image},format=raw,if=virtio", *GUEST, how=without_rights())
    check_refused(done, re.escape(str(image)), "Permission denied|readonly=on")


def test_image_in_use(kvm, folder, start):
    """Two VMs that write to one image would spoil it."""
    image = folder / "image"
    image.write_bytes(bytes(1 << 20))
    drive = ("-drive", f"file={image},format=raw,if=virtio")
    vm = start(*harness.guest_args("hello end=halt"), *drive)
    vm.wait_for("done passed=1")
    check_refused(run(*DISPLAY, *drive, *GUEST), re.escape(str(image)), "use|lock")
    vm.close()


# ---- TAP ----

TAPS = {
    "name too long": ("tap,id=n0,ifname=a-name-that-is-far-too-long", "a-name-that-is-far-too-long"),
    "not a TAP": ("tap,id=n0,ifname=lo", "lo", "TAP"),
    "a TUN": ("tap,id=n0,ifname=tun0", "tun0"),
    "no such bridge": ("tap,id=n0,ifname=made0,br=br7", "br7"),
    "no such script": ("tap,id=n0,ifname=made0,script=/nowhere/script", "/nowhere/script"),
    "a script that fails": ("tap,id=n0,ifname=made0,script=/bin/false", "/bin/false"),
    "in use": ("tap,id=n0,ifname=busy0", "busy0", "busy|use"),
    "both ifname and fd": ("tap,id=n0,ifname=t0,fd=3", "fd", "ifname"),
    "vhost": ("tap,id=n0,ifname=t0,vhost=on", "vhost"),
    "several queues": ("tap,id=n0,ifname=t0,queues=4", "queues"),
}


@pytest.mark.parametrize("name", TAPS)
def test_tap_refused(ns, start, name):
    text, *patterns = TAPS[name]
    if name == "a TUN":
        ns.run("ip", "tuntap", "add", "dev", "tun0", "mode", "tun")
    if name == "in use":
        ns.tap("busy0")
        vm = start(*harness.guest_args("hello end=halt"), "-netdev", "tap,id=n0,ifname=busy0", ns=ns)
        vm.wait_for("done passed=1")
    done = run(*DISPLAY, "-netdev", text, "-device", "virtio-net-pci,netdev=n0", *GUEST, ns=ns)
    check_refused(done, *patterns)
    assert "made0" not in ns.run("ip", "link"), "an interface is left behind"


def test_netdev_used_twice(ns):
    done = run(*DISPLAY, *NIC, "-device", "virtio-net-pci,netdev=n0", *GUEST, ns=ns)
    check_refused(done, "n0", "use|taken|already")


def test_netdev_id_twice(ns):
    ns.tap("t1")
    done = run(*DISPLAY, "-netdev", "tap,id=n0,ifname=t0", "-netdev", "tap,id=n0,ifname=t1", *GUEST, ns=ns)
    check_refused(done, "n0", "use|taken|already")


def as_nobody():
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    return ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


@pytest.fixture
def readable_vireo():
    """A copy that every user can run."""
    path = pathlib.Path("/tmp") / f"vireo-test-{os.getpid()}"
    shutil.copy(harness.VIREO, path)
    path.chmod(0o755)
    yield path
    path.unlink()


def test_tap_without_permission(ns, readable_vireo):
    """Who isn't allowed to make interfaces is told so. /dev/kvm is nobody's here, if need be."""
    done = subprocess.run(
        ns.words("unshare", "--mount", "sh", "-c",
                 'mount -t tmpfs none /mnt && cp -a /dev/kvm /mnt/kvm && chmod 666 /mnt/kvm && '
                 'mount --bind /mnt/kvm /dev/kvm && exec "$@"', "sh", *as_nobody(), readable_vireo,
                 *DISPLAY, "-netdev", "tap,id=n0,ifname=new0", "-device", "virtio-net-pci,netdev=n0", *GUEST),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=LIMIT, check=False)
    check_refused(done, "new0", "permi")


# ---- KVM itself ----

def test_no_permission_for_kvm(kvm, readable_vireo):
    how = as_nobody()
    if os.stat("/dev/kvm").st_mode & 0o006:
        pytest.skip("/dev/kvm is open to all users here")
    done = subprocess.run([*how, readable_vireo, *DISPLAY, *GUEST], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=LIMIT,
                          check=False)
    check_refused(done, "/dev/kvm", "Permission denied", "group|kvm")
    done = subprocess.run([*how, readable_vireo, "probe"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
    check_refused(done, "/dev/kvm", "Permission denied")


@pytest.mark.parametrize("words", [("probe",), ("probe", "--json"), (*DISPLAY, *GUEST)],
                         ids=["probe", "probe --json", "a VM"])
@pytest.mark.parametrize("instead", ["nothing", "another file"])
def test_no_kvm(words, instead):
    """/dev without kvm, or with something else of that name, in a mount namespace of its own."""
    how = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if instead == "nothing":
        hide = "mount -t tmpfs none /dev"
    elif os.path.exists("/dev/kvm"):
        hide = "mount --bind /dev/null /dev/kvm"
    else:
        pytest.skip("this host has no /dev/kvm to hide")
    done = subprocess.run([*how, "sh", "-c", f'{hide} && exec "$@"', "sh", harness.VIREO, *words],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=LIMIT, check=False)
    check_refused(done, "/dev/kvm", "No such file" if instead == "nothing" else "KVM")


# ---- what asks for nothing ----

@pytest.mark.parametrize("words", [("-help",), ("--help",), ("-h",), ("-version",), ("-device", "help"),
                                   ("-device", "virtio-net-pci,help"), ("-netdev", "help"),
                                   ("-net", "nic,model=?"), ("-M", "help"), ("-cpu", "help"), ()],
                         ids=" ".join)
def test_help(words):
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert len(done.stdout) > 5
