# Runs one command on a server and ends every process that it leaves. Read from standard input by `sh -c`,
# after two lines that set `id` and `command`; standard error is /dev/null here, the command's is descriptor 4.
#
# The end of file on standard input means stop: the worker closed it, or is gone. Nothing else is relied on:
# sshd refuses signals to a root login, and closing a channel or a connection leaves its processes running.
# Processes are found as descendants (orphans come back to this shell where it is a child subreaper) and by a
# random mark in their environment, which still tells them where this shell is not, or was killed.

# Print the living processes of the command; this script's own, and those above it, are none of its business.
processes() {
    marked=$(grep -lsF "AOSS_COMMAND_ID=$id" /proc/[0-9]*/environ)
    # From status, not stat: there the kernel escapes the name of the program. Listed by a shell that can tell
    # its own number, so that it is in the list: else this script would find, and stop, itself.
    sh -c 'cat /proc/[0-9]*/status | awk -v self="$$" -v root="$1" -v marked="$2" "$3"' sh "$$" "$marked" '
        $1 == "State:" { state = $2 }
        $1 == "Pid:" { pid = $2 }
        $1 == "PPid:" && state !~ /[ZX]/ { parent[pid] = $2; order[++count] = pid }
        END {
            for (p = self; p in parent; p = parent[p]) ours[p]
            number = split(marked, paths)
            for (i = 1; i <= number; i++) { split(paths[i], part, "/"); wanted[part[3]] }
            # Up from each process, until one that is ours or the command started.
            for (i = 1; i <= count; i++)
                for (p = order[i]; p in parent && !(p in ours); p = parent[p])
                    if (p in wanted || parent[p] == root) { print order[i]; break }
        }'
}

# Stop them before they are killed, again until a look finds no new one: what is stopped forks no more.
end_processes() {
    rounds=0
    while found=$(processes) && [ -n "$found" ] && [ "$rounds" -lt 100 ]; do
        rounds=$((rounds + 1))
        kill -STOP $found
        [ "$found" = "$(processes)" ] || [ "$rounds" -gt 20 ] && kill -KILL $found
    done
    [ -z "$found" ] || echo "aoss: these processes that the command started could not be ended:" $found >&4
}

exec 3<&0 </dev/null
# Once it has begun it must not be interrupted: halfway through, some are left that have lost their parents.
{ read -r line <&3; trap '' TERM; end_processes; } &
watcher=$!
# In the foreground, since a shell makes its background jobs ignore SIGINT; in a session of its own, so that
# `kill 0` does not reach this script; below a subshell, so that what this shell says of its death goes nowhere.
(
    export AOSS_COMMAND_ID="$id"
    exec $(command -v setsid) "$(command -v bash || command -v sh)" -c "$command"
) 2>&4 3<&- 4>&-
status=$?
kill "$watcher"
wait "$watcher"
end_processes
exit "$status"
