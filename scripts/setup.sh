#!/bin/sh
# Makes the virtual environment that `make` works in, and keeps it up to date.
#
#   sh scripts/setup.sh <runtime|dev> <venv> <constraints file> [<interpreter>]
#
# It may be interrupted and repeated at any time: a stamp says what is installed, a mark says that an
# installation was cut short, and then the environment is made anew.
set -eu

profile=$1
venv=$2
constraints=$3
interpreter=${4:-}

stamp=$venv/.installed-$profile
unfinished=$venv/.unfinished

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "make: $1"
    shift
    for line in "$@"; do say "      $line"; done
    exit 1
}

# Prints "ok", or why an interpreter can't be used.
examine() {
    "$1" -c '
import sys
found = "%d.%d.%d" % sys.version_info[:3]
if sys.version_info < (3, 11):
    print("is Python %s, older than 3.11" % found)
    sys.exit()
try:
    import ensurepip, venv
except ImportError as error:
    print("is Python %s without the module %s" % (found, error.name))
else:
    print("ok")
' 2>/dev/null || printf 'does not start\n'
}

choose_interpreter() {
    if [ -n "$interpreter" ]; then
        candidates=$interpreter
        command -v "$interpreter" >/dev/null 2>&1 ||
            fail "PYTHON=$interpreter was not found." "Give the name or the path of a Python >= 3.11."
        verdict=$(examine "$interpreter")
        [ "$verdict" = ok ] && return
        report="PYTHON=$interpreter $verdict."
    else
        report=
        for candidate in python3.13 python3.12 python3.11 python3 python; do
            path=$(command -v "$candidate" 2>/dev/null) || continue
            verdict=$(examine "$path")
            if [ "$verdict" = ok ]; then
                interpreter=$path
                return
            fi
            report="$report${report:+
      }$path $verdict."
        done
    fi
    case $report in
    *without\ the\ module*)
        version=$(printf '%s\n' "$report" | sed -n 's/.*is Python \([0-9]*\.[0-9]*\).* without.*/\1/p' | sed 1q)
        fail "this Python can't make virtual environments." "$report" \
            "On Debian and Ubuntu the missing part is a package of its own:" \
            "    apt-get install python$version-venv" \
            "Or name another Python >= 3.11: make ... PYTHON=/path/to/python3"
        ;;
    *)
        fail "a Python >= 3.11 is needed, and none was found." \
            "${report:-There is no python3.13, python3.12, python3.11, python3 or python in PATH.}" \
            "Install one (Debian, Ubuntu: apt-get install python3 python3-venv)," \
            "or name it: make ... PYTHON=/path/to/python3"
        ;;
    esac
}

identity() { "$1" -c 'import sys; print(sys.version_info[:3], sys.base_prefix)' 2>/dev/null || printf 'broken\n'; }

# What an installation depends on. The place is part of it: scripts and the editable install hold its path.
wanted() {
    cksum <pyproject.toml
    cksum <"$constraints"
    pwd -P
}

[ -f "$constraints" ] || fail "CONSTRAINTS=$constraints does not exist."

if [ -e "$venv" ]; then
    anew=
    if [ -e "$unfinished" ]; then
        anew="its last installation did not finish"
    elif [ "$(identity "$venv/bin/python")" = broken ]; then
        anew="its Python does not start"
    elif [ -n "$interpreter" ] && [ "$(identity "$venv/bin/python")" != "$(identity "$interpreter")" ]; then
        anew="it has another Python than $interpreter"
    fi
    if [ -n "$anew" ]; then
        choose_interpreter
        [ -f "$venv/pyvenv.cfg" ] || [ -e "$unfinished" ] ||
            fail "$venv exists and is not a virtual environment." "Move it away, or name another: make ... VENV=..."
        say "Making $venv anew: $anew."
        : >"$unfinished"
        find "$venv" -mindepth 1 -maxdepth 1 ! -name .unfinished -exec rm -rf {} +
    fi
fi

[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(wanted)" ] && exit 0

# Settings of the person's pip that would put packages elsewhere.
unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_CONSTRAINT PIP_REQUIRE_HASHES
PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
export PIP_USER PIP_DISABLE_PIP_VERSION_CHECK PIP_NO_INPUT

install() {
    # --compile: Airflow starts twice as slowly without compiled modules.
    "$venv/bin/python" -m pip install --quiet --compile --constraint "$constraints" "$@"
}

if [ ! -e "$venv/pyvenv.cfg" ]; then
    choose_interpreter
    say "Making $venv with $("$interpreter" --version 2>&1) ($interpreter)."
    mkdir -p "$venv"
    : >"$unfinished"
    "$interpreter" -m venv "$venv"
    printf '*\n' >"$venv/.gitignore"
fi
: >"$unfinished"
rm -f "$stamp"

case $profile in
runtime)
    say "Installing the provider and Airflow into $venv (300 MB: half a minute or more, the first time)."
    install pip
    install --build-constraint "$constraints" --editable .
    ;;
dev)
    say "Installing what tests and lint need into $venv."
    install --build-constraint "$constraints" --group dev --editable '.[zstd,s3]'
    ;;
*)
    fail "unknown profile $profile"
    ;;
esac

rm -f "$unfinished"
wanted >"$stamp.new"
mv "$stamp.new" "$stamp"
