# initrd.py - makes initrds: the lab's own and those of its guests.
#
# An initrd is a cpio archive of the "newc" kind (Linux Documentation/driver-api/early-userspace/
# buffer-format.rst), left uncompressed: in an emulated machine, unpacking costs more than
# reading. Archives can be concatenated; a later file replaces an earlier one of the same name.
#
# Used by lab/run and lab/guest-initrd. Runs on the host, as any user: it makes no device nodes and
# needs no cpio program.

import lzma
import os
import shutil
import stat
import subprocess

BUSYBOX_PLACES = ('/bin/busybox', '/usr/bin/busybox')


class Problem(Exception):
    """Something a person has to put right; the text says what."""


class Archive:
    """The files of an initrd, kept in memory until written."""

    def __init__(self):
        self.entries = {}  # path without the leading slash -> (mode, data)

    def _parents(self, path):
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self._parents(parent)
            self.entries[parent] = (stat.S_IFDIR | 0o755, b'')

    def has(self, path):
        return path.lstrip('/') in self.entries

    def directory(self, path):
        path = path.strip('/')
        self._parents(path)
        self.entries.setdefault(path, (stat.S_IFDIR | 0o755, b''))

    def data(self, path, data, mode=0o644):
        """A file with the bytes DATA."""
        path = path.lstrip('/')
        self._parents(path)
        self.entries[path] = (stat.S_IFREG | mode, data)

    def symlink(self, path, target):
        path = path.lstrip('/')
        self._parents(path)
        self.entries[path] = (stat.S_IFLNK | 0o777, target.encode())

    def file(self, path, source, mode=None):
        """A copy of the host's file SOURCE, with its permissions or those given."""
        with open(source, 'rb') as f:
            self.data(path, f.read(), mode or stat.S_IMODE(os.fstat(f.fileno()).st_mode))

    def tree(self, source):
        """Copies of all that is in the host's folder SOURCE, at the archive's root."""
        for folder, folders, files in os.walk(source):
            inside = os.path.relpath(folder, source)
            for name in folders + files:
                there = os.path.join(folder, name)
                here = os.path.normpath(os.path.join(inside, name))
                if os.path.islink(there):
                    self.symlink(here, os.readlink(there))
                elif os.path.isdir(there):
                    self.directory(here)
                else:
                    self.file(here, there)

    def program(self, source):
        """The host's program SOURCE at the same path, and the shared libraries it needs."""
        self.file(source, source)
        ldd = subprocess.run(['ldd', source], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True, env={**os.environ, 'LC_ALL': 'C'}, check=False)
        for line in ldd.stdout.splitlines():
            # "libc.so.6 => /lib/... (0x...)" or, the loader, "/lib64/ld-... (0x...)"
            if 'not found' in line:
                raise Problem(f'{source} needs {line.split()[0]}, which is not installed')
            for word in line.split():
                if word.startswith('/') and not self.has(word):
                    self.file(word, word)
                    if os.path.basename(word) == 'libc.so.6':
                        self._unwinder(os.path.dirname(word))

    def _unwinder(self, folder):
        """libgcc_s, which ldd does not show: libc loads it when a thread is cancelled, and ends
        the program if it is not there."""
        library = os.path.join(folder, 'libgcc_s.so.1')
        if os.path.exists(library):
            self.file(library, library)

    def busybox(self):
        """busybox as /bin/busybox, and its tools' names as links to it."""
        for place in BUSYBOX_PLACES:
            if os.path.exists(place):
                break
        else:
            raise Problem('no busybox (apt-get install busybox-static)')
        if subprocess.run(['ldd', place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0:
            raise Problem(f'{place} needs shared libraries (apt-get install busybox-static)')
        self.file('bin/busybox', place)
        tools = subprocess.run([place, '--list'], stdout=subprocess.PIPE, text=True, check=True)
        for tool in tools.stdout.split():
            if tool != 'busybox':
                self.symlink(f'bin/{tool}', 'busybox')

    def write(self, out, base=None):
        """Writes the archive as the file OUT, which appears only once it is whole; behind a copy
        of the initrd BASE, if given."""
        temporary = f'{out}.{os.getpid()}'
        if base:
            shutil.copyfile(base, temporary)
        with open(temporary, 'ab') as f:
            for number, path in enumerate(self.entries, 1):
                mode, data = self.entries[path]
                _write_entry(f, path, mode, data, number)
            _write_entry(f, 'TRAILER!!!', 0, b'', 0)
        os.replace(temporary, out)


def _write_entry(f, path, mode, data, number):
    name = path.encode() + b'\0'
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    header = b'070701' + b''.join(b'%08X' % field for field in fields) + name
    f.write(header + bytes(-len(header) % 4))
    f.write(data + bytes(-len(data) % 4))


class Kernel:
    """A folder that lab/kernel made."""

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        try:
            with open(os.path.join(self.folder, 'release'), encoding='ascii') as f:
                self.release = f.read().strip()
        except OSError as error:
            raise Problem(f'{folder}: not a kernel folder of lab/kernel ({error})') from error
        self.modules = os.path.join(self.folder, 'lib/modules', self.release)
        self.vmlinux = os.path.join(self.folder, 'vmlinux')
        self._depends = {}  # module name -> its path, and those of all it depends on
        self._builtin = set()
        with open(os.path.join(self.modules, 'modules.dep'), encoding='ascii') as f:
            for line in f:
                path, depends = line.split(':')
                self._depends[module_name(path)] = [path] + depends.split()
        with open(os.path.join(self.modules, 'modules.builtin'), encoding='ascii') as f:
            self._builtin.update(module_name(line.strip()) for line in f)

    def closure(self, names):
        """The modules NAMES and all that they need, as paths below self.modules. What is built
        into the kernel needs no file."""
        paths = {}
        for name in map(module_name, names):
            if name in self._builtin:
                continue
            if name not in self._depends:
                raise Problem(f'{name}: no such module in {self.release}')
            paths.update(dict.fromkeys(self._depends[name]))
        return list(paths)

    def add_modules(self, archive, names):
        """Puts the modules NAMES and all they need into ARCHIVE, unpacked, with the index files
        that busybox's modprobe reads, cut down to them."""
        inside = f'lib/modules/{self.release}'
        paths = self.closure(names)
        depends = ''
        for path in paths:
            archive.data(f'{inside}/{unpacked(path)}',
                         read_module(os.path.join(self.modules, path)))
            needed = ' '.join(map(unpacked, self._depends[module_name(path)][1:]))
            depends += f'{unpacked(path)}: {needed}\n'
        archive.data(f'{inside}/modules.dep', depends.encode())
        archive.file(f'{inside}/modules.builtin', os.path.join(self.modules, 'modules.builtin'))

        names = {module_name(path) for path in paths}
        with open(os.path.join(self.modules, 'modules.alias'), encoding='ascii') as f:
            aliases = [line for line in f if line.split()[-1] in names]
        archive.data(f'{inside}/modules.alias', ''.join(aliases).encode())


def unpacked(path):
    """kernel/fs/9p/9p.ko.xz -> kernel/fs/9p/9p.ko"""
    return path.split('.ko')[0] + '.ko'


def module_name(path):
    """kernel/drivers/net/virtio-net.ko.xz -> virtio_net"""
    return os.path.basename(path).split('.ko')[0].replace('-', '_')


def read_module(path):
    """The module's ELF file, unpacked if the kernel package has it packed."""
    with open(path, 'rb') as f:
        data = f.read()
    if path.endswith('.xz'):
        return lzma.decompress(data)
    if path.endswith('.zst'):
        if shutil.which('zstd') is None:
            raise Problem(f'{path} needs zstd (apt-get install zstd)')
        return subprocess.run(['zstd', '-dc'], input=data, stdout=subprocess.PIPE,
                              check=True).stdout
    return data
