"""Runs a program in a namespace as an ordinary user with no capability."""
import os

NOBODY = 65534


class Unprivileged:
    """Stands for the namespace NS where a program is started (harness.Process); RESOLV, a file, for /etc/resolv.conf."""

    def __init__(self, ns, resolv=None):
        self.ns, self.user, self.resolv = ns, ns.user, resolv

    def words(self, *words):
        drop = ["setpriv", "--no-new-privs", "--inh-caps=-all"]
        if not self.ns.user:
            drop += ["--bounding-set=-all"]
            kvm = os.stat("/dev/kvm")
            if kvm.st_mode & 0o060 == 0o060 or kvm.st_mode & 0o006 == 0o006:
                # Where only root may use KVM it is root without any capability instead.
                drop += ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--groups", str(kvm.st_gid)]
        if self.resolv:
            drop = ["unshare", "-m", "sh", "-ec", f'mount --bind {self.resolv} /etc/resolv.conf; exec "$@"', "sh",
                    *drop]
        return self.ns.words(*drop, *words)
