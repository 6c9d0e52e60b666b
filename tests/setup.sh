#!/bin/bash
# Installs what the tests run against: real servers, and the tools that watch them.
#
# As root on Debian it installs what is missing and does nothing when all is there. Elsewhere it only
# says what is missing: the tests that need it then say that they were skipped, and why. With CI set,
# something missing is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV="${CARGO_TARGET_DIR:-target}/test-venv"
# A Debian system with nginx, of which the tests make an image.
TREE="${CARGO_TARGET_DIR:-target}/test-debian.tar"
PATH="$PATH:/usr/sbin:/sbin"

# What has to be there | the Debian package that brings it.
NEEDED=(
    "nginx|nginx-light"
    "php-fpm|php-fpm"
    "mariadbd|mariadb-server"
    "mariadb|mariadb-server"
    "mariadb-install-db|mariadb-server"
    "redis-server|redis-server"
    "redis-cli|redis-server"
    "python3|python3"
    "perl|perl"
    "strace|strace"
    "valgrind|valgrind"
    "busybox|busybox-static"
    "ps|procps"
    "unshare|util-linux"
    "curl|curl"
    "file|file"
    "node|nodejs"
    "npm|npm"
    "postgres|postgresql"
    "logrotate|logrotate"
    "gzip|gzip"
    "systemd-notify|systemd"
    "dockerd|docker.io"
    "docker-compose|docker-compose"
    "debootstrap|debootstrap"
    "mksh-static|mksh"
    "wrk|wrk"
    "zsh|zsh"
    "fish|fish"
    "bash-completion|bash-completion"
    "qemu-x86_64-static|qemu-user-static"
)

# PHP's daemon carries its version in its name, PostgreSQL in its folder, and bash-completion is a file.
is_there() {
    case "$1" in
    php-fpm) compgen -G '/usr/sbin/php-fpm*' >/dev/null || command -v php-fpm >/dev/null ;;
    bash-completion) [ -e /usr/share/bash-completion/bash_completion ] ;;
    postgres) compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

missing_packages() {
    local entry
    for entry in "${NEEDED[@]}"; do
        is_there "${entry%%|*}" || echo "${entry##*|}"
    done | sort -u
    # The interpreter of the virtual environment needs its `ensurepip`.
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

can_install() {
    [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null
}

# The packages start their servers when they are installed, unless this file says no. It is there only
# while they are installed.
forbid_starting_services() {
    POLICY=/usr/sbin/policy-rc.d
    [ -e "$POLICY" ] && return
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
    trap 'rm -f "$POLICY"' EXIT
}

install_packages() {
    echo "setup: installing $*"
    forbid_starting_services
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -y -q --no-install-recommends "$@"
}

venv_is_ready() {
    [ -x "$VENV/bin/uvicorn" ] && "$VENV/bin/python" -c 'import fastapi, uvicorn, watchfiles, pyte, pytest, kubernetes_validate' 2>/dev/null
}

make_venv() {
    echo "setup: making $VENV"
    rm -rf "$VENV"
    mkdir -p "$(dirname "$VENV")"
    python3 -m venv "$VENV"
    "$VENV/bin/pip" install --quiet uvicorn fastapi watchfiles pyte pytest kubernetes-validate
}

# Without documentation, translations and package lists: 200 MB are then 100.
make_tree() {
    echo "setup: making $TREE"
    local folder
    folder=$(mktemp --directory)
    chmod 755 "$folder"
    debootstrap --variant=minbase --include=nginx-light bookworm "$folder" >"$TREE.log" ||
        { rm -rf "$folder"; return 1; }
    tar --create --file "$TREE.new" --directory "$folder" --exclude=./usr/share/{doc,man,locale,info}'/*' \
        --exclude=./var/{cache,lib}/apt'/*' --exclude=./{proc,sys,dev}'/*' .
    mv "$TREE.new" "$TREE"
    rm -rf "$folder"
}

mapfile -t packages < <(missing_packages)
if [ ${#packages[@]} -gt 0 ] && can_install; then
    install_packages "${packages[@]}"
    mapfile -t packages < <(missing_packages)
fi

if ! venv_is_ready && python3 -c 'import ensurepip' 2>/dev/null; then
    make_venv || echo "setup: cannot fill $VENV" >&2
fi
venv_is_ready || packages+=("uvicorn, fastapi, watchfiles, pyte, pytest and kubernetes-validate in $VENV")

# `debootstrap` makes device files and changes its root, which only root may.
if [ "$(id -u)" = 0 ] && [ ! -e "$TREE" ]; then
    { command -v debootstrap >/dev/null && make_tree; } || packages+=("$TREE, see $TREE.log")
fi

if [ ${#packages[@]} -gt 0 ]; then
    printf 'setup: missing: %s\n' "${packages[@]}" >&2
    if [ -n "${CI:-}" ]; then
        echo "setup: cannot go on: CI is set, and there every test has to run" >&2
        exit 1
    fi
    echo "setup: the tests that need these are skipped" >&2
else
    echo "setup: everything is there"
fi
