#!/bin/bash
# Behaves like the entry point of the official PostgreSQL image, as far as users of that image can tell:
# the code under test must not be able to say whether an image was pulled or made here.
set -Eeo pipefail

# "$1" from the environment, or from the file named by "$1_FILE" (secrets mounted as files).
from_env_or_file() {
    local name="$1" file="${1}_FILE"
    if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
        echo >&2 "error: both $name and $file are set (but are exclusive)"
        exit 1
    fi
    if [ -n "${!file:-}" ]; then export "$name"="$(<"${!file}")"; fi
    unset "$file"
}

own_folders_and_become_postgres() {
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 00700 "$PGDATA"
    chmod 03775 /var/run/postgresql
    find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
    find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- env HOME=/var/lib/postgresql \
        "${BASH_SOURCE[0]}" "$@"
}

refuse_without_password() {
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
        echo >&2 "Error: Database is uninitialized and superuser password is not specified."
        echo >&2 "       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser."
        exit 1
    fi
}

initialise_cluster() {
    # Split like the official image does: the variable holds several shell words.
    eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") '"${POSTGRES_INITDB_ARGS:-}"
    printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >> "$PGDATA/pg_hba.conf"
}

run_sql() {
    psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password --username "$POSTGRES_USER" "$@"
}

create_database() {
    if [ "$POSTGRES_DB" != postgres ]; then
        run_sql --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db" ;'
    fi
}

run_init_scripts() {
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        case "$script" in
            *.sh)
                if [ -x "$script" ]; then echo "$0: running $script"; "$script"
                else echo "$0: sourcing $script"; . "$script"; fi ;;
            *.sql) echo "$0: running $script"; run_sql --dbname "$POSTGRES_DB" -f "$script" ;;
            *.sql.gz) echo "$0: running $script"; gunzip -c "$script" | run_sql --dbname "$POSTGRES_DB" ;;
            */\*) ;;
            *) echo "$0: ignoring $script" ;;
        esac
    done
}

# The temporary server listens on the unix socket only, so that whoever can connect over TCP has the real one.
prepare_cluster() {
    refuse_without_password
    initialise_cluster
    PGUSER="$POSTGRES_USER" pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
    create_database
    run_init_scripts
    PGUSER="$POSTGRES_USER" pg_ctl -D "$PGDATA" -m fast -w stop
    echo
    echo 'PostgreSQL init process complete; ready for start up.'
    echo
}

main() {
    if [ "${1:0:1}" = '-' ]; then set -- postgres "$@"; fi
    if [ "$1" = postgres ]; then
        if [ "$(id -u)" = 0 ]; then own_folders_and_become_postgres "$@"; fi
        from_env_or_file POSTGRES_PASSWORD
        from_env_or_file POSTGRES_USER
        from_env_or_file POSTGRES_DB
        from_env_or_file POSTGRES_INITDB_ARGS
        export POSTGRES_USER="${POSTGRES_USER:-postgres}"
        export POSTGRES_DB="${POSTGRES_DB:-$POSTGRES_USER}"
        if [ -s "$PGDATA/PG_VERSION" ]; then
            echo 'PostgreSQL Database directory appears to contain a database; Skipping initialization'
        else
            prepare_cluster
        fi
    fi
    exec "$@"
}

main "$@"
