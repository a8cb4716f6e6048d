#!/bin/sh
# An entry point of an image that says nothing in its environment: the programs are off PATH, and the data's place is an
# argument alone. $1: the folder of the programs; $2: PGDATA; $3: the server's account. What follows goes to postgres.
set -e
programs=$1 data=$2 account=$3
shift 3

# Become the account, and begin again. Debian's su would stay as process 1; busybox's setpriv knows no accounts.
if [ "$(id -u)" = 0 ]; then
    mkdir -p "${data%/*}" && chown "$account" "${data%/*}"
    set -- "$0" "$programs" "$data" "$account" "$@"
    if setpriv --reuid="$account" true 2>/dev/null; then exec setpriv --reuid="$account" --clear-groups -- "$@"; fi
    exec su -s /bin/sh "$account" -c 'exec "$0" "$@"' -- "$@"
fi
# An account without an entry gets one for as long as the container lives.
id -un >/dev/null 2>&1 || echo "somebody:x:$(id -u):0::/tmp:/bin/sh" >> /etc/passwd
if [ ! -s "$data/PG_VERSION" ]; then
    mkdir -p "$data"
    printf '%s\n' "$POSTGRES_PASSWORD" > /tmp/password
    "$programs/initdb" -D "$data" --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=trust
    "$programs/pg_ctl" -D "$data" -o "-c listen_addresses='' -c unix_socket_directories=/tmp" -w start
    "$programs/psql" -h /tmp -U "$POSTGRES_USER" -d postgres -c "CREATE DATABASE $POSTGRES_DB"
    "$programs/pg_ctl" -D "$data" -m fast -w stop
fi
exec "$programs/postgres" -D "$data" "$@"
