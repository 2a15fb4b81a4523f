"""Names that a model's files and symbols must not have, and why."""

from __future__ import annotations

C_HEADERS = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic
    stdbit stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype
"""
SYSTEM_HEADERS = """
    aio alloca ansi argz byteswap cpio dirent dlfcn elf endian envz err error execinfo fcntl features fmtmsg fnmatch ftw
    getopt glob grp iconv ieeefp langinfo libgen libintl link machine malloc memory monetary mqueue ndbm netdb newlib
    nl_types poll pthread pwd reent regex regdef resolv rpc sched search semaphore spawn strings stropts sysexits syslog
    tar termios trace ulimit unctrl unistd utime utmp utmpx values wait wordexp xlocale
    arm_acle arm_bf16 arm_cmse arm_fp16 arm_mve arm_neon immintrin xmmintrin emmintrin mm_malloc cpuid unwind
"""
TARGETS_OF_CMAKE = """
    all clean depend edit_cache example help install list_install_components m package package_source preinstall
    rebuild_cache test
"""
DEVICES = "aux con nul prn " + " ".join(f"{port}{i}" for port in ("com", "lpt") for i in range(10))

GROUPS = {
    "main harness semihosting posix": "the example and the runtime have files of that name",
    C_HEADERS: "its header would hide that of the C library",
    SYSTEM_HEADERS: "its header would hide one of the system or the compiler",
    TARGETS_OF_CMAKE: "a target of the build has that name",
    DEVICES: "Windows has no files of that name",
    "f r w x": "its code for success would be a macro of unistd.h",
}
RESERVED = {name: why for names, why in GROUPS.items() for name in names.split()}
"""From name to the reason."""
