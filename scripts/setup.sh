#!/bin/sh
# Makes everything `make test` and `make demo` need: the system libraries of Qt
# and of the virtual screen (apt, as root only) and the pinned .venv.  A second
# run finds all of it and does nothing.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"

say() { echo "setup: $*" >&2; }

apt_install() {
    say "installing $*"
    log=$(mktemp)
    if apt-get -qq update >"$log" 2>&1 && DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y --no-install-recommends install "$@" >>"$log" 2>&1
    then
        rm -f "$log"
    else
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
}

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# One library (or program) and the Debian package it comes from per line.
missing_packages() {
    libraries=$(ldconfig -p)
    while read -r file package; do
        command -v "$file" >/dev/null || case $libraries in
            *"$file"*) ;;
            *) echo "$package" ;;
        esac
    done <<EOF
libEGL.so.1 libegl1
libGL.so.1 libgl1
libglib-2.0.so.0 libglib2.0-0
libdbus-1.so.3 libdbus-1-3
libfontconfig.so.1 libfontconfig1
libxkbcommon.so.0 libxkbcommon0
libxkbcommon-x11.so.0 libxkbcommon-x11-0
libxcb-cursor.so.0 libxcb-cursor0
libxcb-icccm.so.4 libxcb-icccm4
libxcb-keysyms.so.1 libxcb-keysyms1
libxcb-shape.so.0 libxcb-shape0
Xvfb xvfb
EOF
}

system_libraries() {
    command -v ldconfig >/dev/null || return 0 # not Linux: Qt brings what it needs
    packages=$(missing_packages | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    # shellcheck disable=SC2086  # a list of names
    if ! { can_apt && apt_install $packages; }; then
        say "system packages are missing and tests in a window may fail; an administrator can run:"
        say "  apt-get install $packages"
    fi
}

python_of_the_system() {
    for name in python3.11 python3 python3.12 python3.13 python3.14; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}

make_venv() {
    .venv/bin/python -c 'import pip' 2>/dev/null && return
    if ! python=$(python_of_the_system); then
        if ! { can_apt && apt_install python3 python3-venv && python=$(python_of_the_system); }; then
            say "Python 3.11 or newer is needed and was not found"
            exit 1
        fi
    fi
    rm -rf .venv
    "$python" -m venv .venv >/dev/null 2>&1 && return
    # Debian keeps the part of Python that puts pip into a venv in a package of its own.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if can_apt && apt_install "python$version-venv" && "$python" -m venv .venv; then
        return
    fi
    rm -rf .venv
    "$python" -m virtualenv -q .venv 2>/dev/null && return
    rm -rf .venv
    say "$python cannot make a virtual environment; an administrator can run:"
    say "  apt-get install python$version-venv"
    exit 1
}

install_packages() {
    stamp=.venv/installed
    if [ -e $stamp ] && [ ! pyproject.toml -nt $stamp ] && [ ! constraints.txt -nt $stamp ]; then
        return
    fi
    say "installing the Python packages into .venv (a few minutes the first time)"
    # -qq: errors only.
    .venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt \
        -e '.[test]'
    touch $stamp
}

system_libraries
make_venv
install_packages
