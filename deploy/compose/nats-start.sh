#!/bin/sh
# Starts a nats-server of deploy/compose.yaml: the passwords of the roles, from the secrets' files, become variables of its
# configuration.
set -eu
for role in api relay gateway reader restore sys route; do
    name=$(printf 'NATS_%s_PASSWORD' "$role" | tr '[:lower:]' '[:upper:]')
    export "$name=$(cat "/run/secrets/nats_${role}_password")"
done
# A word of the configuration each, with its quotes: the servers dial each other with the password of the routes.
for number in 1 2 3; do
    export "NATS_ROUTE_$number=\"nats://route:$NATS_ROUTE_PASSWORD@nats-$number:6222\""
done
exec nats-server --config /etc/nats/nats.conf
