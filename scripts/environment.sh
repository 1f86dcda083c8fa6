# Sourced by the scripts beside it, for `prepare`: the repository's .venv with this package and an extra in it.
# Who wants another place sets `venv` and `python` after sourcing this.
# Needs bash and a Python of at least 3.11, and nothing else.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
python=$venv/bin/python

# prepare EXTRA: makes $venv if it is missing, and installs `.[EXTRA]` if pyproject.toml or the path changed since.
prepare() {
    if recent "$python" && installed "$1"; then
        return
    fi
    # An interrupted start leaves one without pip behind.
    if ! recent "$python" || ! "$python" -c 'import pip' 2>/dev/null; then
        make_venv
    fi
    echo "== installing .[$1]"
    (cd "$root" && "$python" -m pip install --quiet --disable-pip-version-check --editable ".[$1]") || exit 2
    state >"$venv/installed-$1"
}

make_venv() {
    local found
    found=$(find_python) || exit 2
    echo "== ${venv##*/} with $("$found" --version)"
    "$found" -m venv --clear "$venv" || {
        echo "error: $found cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2
        exit 2
    }
}

# Whether an extra, or the one that includes all others, is there as pyproject.toml now asks for it.
installed() {
    local stamp
    for stamp in "$venv/installed-$1" "$venv/installed-dev"; do
        [[ -f $stamp && $(<"$stamp") == "$(state)" ]] && return
    done
    return 1
}

# An installation is good for one path and one pyproject.toml.
state() {
    printf '%s\n%s\n' "$root" "$(<"$root/pyproject.toml")"
}

find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if recent "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python of at least 3.11 found as python3, python3.14, …, python3.11 or python; install one" >&2
    return 1
}

recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}
