#!/bin/sh
# The chores of a day, for a container without timers: verify the ledger, make a backup, sleep until the next day. A backup that
# failed is tried again in an hour.
set -eu
# As the first process of a container a shell hears of no signal that it does not ask for, and would be killed after the grace period.
trap 'exit 0' TERM INT
while :; do
    pause=86400
    nexusroute ledger verify || echo "ledger verify ended with $?: see the findings above" >&2
    nexusroute-backup create || { echo "the backup failed" >&2; pause=3600; }
    sleep "$pause" &
    wait $!
done
