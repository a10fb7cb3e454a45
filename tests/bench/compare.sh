#!/bin/sh
# Compares catena with mosquitto; see compare.py, which has the options and the reasons.
exec python3 "$(dirname "$0")/compare.py" "$@"
