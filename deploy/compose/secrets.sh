#!/bin/sh
# Makes deploy/secrets for deploy/compose.yaml: random ones, readable by this user and the containers. What is there already stays.
set -eu
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
# $1: the name; the rest: a command that prints it.
once() {
    name=$1
    shift
    [ -s "secrets/$name" ] || "$@" >"secrets/$name"
}
# nats-servers read theirs as words: letters and digits, beginning with a letter.
word() { printf 'n%s' "$(openssl rand -hex 20)"; }
once master_key openssl rand -hex 32
for name in metrics_token postgres_password redis_password grafana_password; do once "$name" word; done
for role in api relay gateway reader restore sys route; do once "nats_${role}_password" word; done
once database_url printf 'postgres://nexusroute:%s@postgres/nexusroute' "$(cat secrets/postgres_password)"
once redis_url printf 'redis://:%s@redis:6379' "$(cat secrets/redis_password)"
# A second place for backups: sections of rclone, `[s3]` and what it needs.
once rclone_conf printf '# rclone config file\n'
# The processes in the containers are other users than the one who made these.
chmod 755 secrets
chmod 644 secrets/*
echo "deploy/secrets is made. Keep master_key apart from your backups: it opens what they hold sealed."
