#!/bin/sh
# Makes sure that the named commands exist: installs the Debian package of the same name where that is allowed,
# says what to install where it is not.
set -eu
missing=""
for command in "$@"; do
    command -v "$command" >/dev/null 2>&1 || missing="$missing $command"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
    exit 0
fi
echo "These commands are needed and missing:$missing. Install them with your system's package manager." >&2
exit 2
