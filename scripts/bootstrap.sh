# Sourced by the scripts beside it. Finds a Python, gets uv, installs the locked dependencies into .venv.
# Everything that it makes lies in the checkout: .venv, .venv-agentscope and .bootstrap.
#
# Afterwards: $root is the checkout and the current directory, $bin is .venv/bin, $uv is the uv that was used.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
bin=$root/.venv/bin
cd -- "$root"

stop() {
    echo "$(basename -- "$0"): $*" >&2
    exit 69 # EX_UNAVAILABLE: something that this needs is missing
}

find_python() {
    for candidate in "$bin/python" python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    if command -v python3 >/dev/null 2>&1; then
        stop "Python 3.11 or newer is needed, and python3 here is $(python3 -c 'import sys; print(sys.version.split()[0])')."
    fi
    stop "Python 3.11 or newer is needed, and there is no python3 on the PATH."
}

# install [what uv sync should add to the locked dependencies, e.g. --group bench]
install() {
    [ "$(uname -s)" = Linux ] || stop "Sandyard's sandboxes are made of Linux namespaces, and this is $(uname -s); use a Linux machine or virtual machine."
    [ -w "$root" ] || stop "The checkout $root is not writable for $(id -un); make a clone of your own."
    # A foreign environment must not leak in, and uv must never fetch a Python of its own.
    unset PYTHONHOME PYTHONPATH VIRTUAL_ENV CONDA_PREFIX UV_PROJECT UV_WORKING_DIRECTORY
    export UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT="$root/.venv"
    python=$(find_python) || exit 69
    uv=$("$python" -I "$root/scripts/_bootstrap.py") || exit 69
    # A uv of the user's keeps to the user's cache, where there is one; ours leaves nothing outside of the checkout.
    cache=${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}}}
    case $uv in "$root"/*) cache= ;; esac
    [ -w "$cache" ] || export UV_CACHE_DIR="$root/.bootstrap/cache"
    [ -x "$bin/python" ] || export UV_PYTHON="$python"
    "$uv" sync --frozen --inexact --quiet "$@" ||
        stop "The dependencies could not be installed; uv's message stands above. They come from the package index (pypi.org)."
    unset UV_PYTHON
}

# AgentScope apps have a lock and an environment of their own; packages/agentscope/pyproject.toml says why. After install.
install_agentscope() {
    if ! "$bin/python" -c 'import sys; sys.exit(sys.version_info >= (3, 14))'; then
        echo "$(basename -- "$0"): AgentScope 1.x runs on Python 3.11 to 3.13; what is about it is left out here." >&2
        return
    fi
    UV_PROJECT_ENVIRONMENT="$root/.venv-agentscope" UV_PYTHON="$bin/python" \
        "$uv" sync --project packages/agentscope --frozen --inexact --quiet --all-extras ||
        stop "AgentScope could not be installed; uv's message stands above. It comes from the package index (pypi.org)."
}
