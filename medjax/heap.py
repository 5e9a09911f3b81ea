"""Memory that is freed and wanted again at the next step: kept, instead of given back to Linux.

XLA's CPU programs take the memory of their intermediate results when they begin and free it when
they end. The GNU C library gives blocks of such size back to the kernel, which hands out new pages
one by one, filled with zeros, at the next step. On two cores that took a fifth of the training step
of a small U-Net, autoencoder or CNN10; steps that want more than 64 MiB at once still pay for it.
"""

import ctypes
import os
import platform

# As in <malloc.h>, with the variables by which a process is born with them.
_SETTINGS = {
    # Larger blocks come from the kernel all the same in threads other than the first.
    "MALLOC_MMAP_THRESHOLD_": (-3, 64 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**30),
}


def keep_freed() -> bool:
    """Lets this process, and those that it starts, keep freed blocks of up to 64 MiB.

    For programs, which own their process; a process holds the most that it ever needed until it
    ends. Where the user has set one of the allocator's variables, all is left as it is.

    Returns:
      Whether that was set now: on Linux with the GNU C library, and not by whoever started this.
    """
    if platform.libc_ver()[0] != "glibc" or "GLIBC_TUNABLES" in os.environ:
        return False
    if any(name in os.environ for name in _SETTINGS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = all(mallopt(option, size) == 1 for option, size in _SETTINGS.values())
    if done:
        os.environ.update({name: str(size) for name, (_, size) in _SETTINGS.items()})
    return done
