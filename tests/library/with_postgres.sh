#!/bin/sh
# Start a PostgreSQL server of its own in a temporary folder, run a command with EVOSEG_TEST_POSTGRES set, stop it.
# usage: with_postgres.sh COMMAND...
set -e
for found in "$(dirname "$(command -v initdb || true)")" /usr/lib/postgresql/*/bin; do
  [ -x "$found/initdb" ] && bin=$found && break
done
if [ -z "$bin" ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  apt-get update -q && apt-get install -qy postgresql
  for found in /usr/lib/postgresql/*/bin; do bin=$found; done
fi
if [ ! -x "$bin/initdb" ]; then
  echo "no PostgreSQL here: install the package postgresql, so that initdb and pg_ctl are there" >&2
  exit 1
fi
folder=$(mktemp -d)
port=${PORT:-54329}
as=""
if [ "$(id -u)" = 0 ]; then  # the server refuses to run as root
  id postgres > /dev/null 2>&1 || useradd --system postgres
  chown postgres "$folder"
  as="setpriv --reuid=postgres --regid=$(id -g postgres) --clear-groups"
fi
stop() { $as "$bin/pg_ctl" -D "$folder/data" -m immediate stop > /dev/null 2>&1 || true; rm -rf "$folder"; }
trap stop EXIT INT TERM
$as "$bin/initdb" -D "$folder/data" -U evoseg -A trust > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
$as "$bin/pg_ctl" -D "$folder/data" -w -l "$folder/data/log" -o "-p $port -k $folder -h 127.0.0.1" start > /dev/null
EVOSEG_TEST_POSTGRES="postgresql://evoseg@127.0.0.1:$port/postgres" "$@"
