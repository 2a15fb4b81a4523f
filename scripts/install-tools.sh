#!/bin/sh
# Installs the compilers and emulators that graphopt drives, on Debian and Ubuntu, where they are missing:
# as root or by sudo; else it prints the command. With "python", only what a virtual environment needs.
set -eu

missing=""

# need COMMAND PACKAGE...: note the packages if there is no such command
need() {
    command=$1
    shift
    command -v "$command" >/dev/null 2>&1 || missing="$missing $*"
}

if [ "${1:-}" = python ]; then
    need python3 python3 python3-venv
    python3 -c "import ensurepip" 2>/dev/null || missing="$missing python3-venv"
else
    need gcc gcc libc6-dev
    need g++ g++
    need clang clang
    need make make
    need cmake cmake
    need pkg-config pkg-config
    need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    need arm-linux-gnueabihf-gcc gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
    need arm-none-eabi-gcc gcc-arm-none-eabi libnewlib-arm-none-eabi
    need qemu-aarch64 qemu-user
    need qemu-system-arm qemu-system-arm
fi

[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then
        as_root="sudo"
    else
        echo "These packages are missing. Install them, then try again:" >&2
        echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
        exit 1
    fi
fi
echo "installing$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of packages, to be split
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
